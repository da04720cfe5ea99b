import Foundation
import TestSupport
import Testing

/// What is kept, what goes, and whether a copy is one.
@Suite(.timeLimit(.minutes(5))) struct RetentionTests {
  private func night(_ sweep: BookedSweep, status: Int32 = 0) async throws -> String {
    let outcome = try await sweep.rollcall("run", "job.yaml", "--json")
    #expect(outcome.status == status, "\(outcome.errorOutput)")
    return try #require(try outcome.json()["id"] as? String)
  }

  private static var form: BookedSweep.Form {
    var form = BookedSweep.Form()
    form.hosts = ["alpha"]
    return form
  }

  /// Other numbers in the dumps of both world sizes, so that no two nights share a file.
  private func change(_ sweep: BookedSweep, to value: UInt8, targetAlone: Bool = false) throws {
    for world in targetAlone ? 2...2 : 1...2 {
      for rank in 0..<world {
        for layer in 0..<3 {
          let path = sweep.scratch.path("source/\(world)/layer0\(layer)_Block_rank\(rank).npy")
          var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
          bytes[bytes.count - 3] = value
          try bytes.write(to: URL(fileURLWithPath: path))
        }
      }
    }
  }

  private func objects(_ sweep: BookedSweep) throws -> Int {
    try FileManager.default.contentsOfDirectory(atPath: sweep.rollcall.store + "/objects").count
  }

  @Test func whatIsOldGoesAndWhatIsNeededStays() async throws {
    try await BookedSweep.with(Self.form) { sweep in
      var ids: [String] = []
      for value in 1...3 as ClosedRange<UInt8> {
        try change(sweep, to: value)
        ids.append(try await night(sweep))
      }
      try change(sweep, to: 77, targetAlone: true)
      let failed = try await night(sweep, status: 1)
      try change(sweep, to: 9)
      let newest = try await night(sweep)
      _ = try await sweep.rollcall("golden", "set", ids[0], "--why", "kept")
      let before = try objects(sweep)

      for size in ["500", "1.5", "-1G", "5X", "G"] {
        let outcome = try await sweep.rollcall("prune", "--max-size=\(size)", "--apply")
        #expect(outcome.status == 64 && outcome.errorOutput.contains("B, K, M, G or T"), "\(outcome.errorOutput)")
      }
      for size in ["0", "0B", "500B"] {
        let outcome = try await sweep.rollcall("prune", "--max-size", size)
        #expect(outcome.status == 0, "\(outcome.errorOutput)")
      }
      let refused = try await sweep.rollcall("prune")
      #expect(refused.status == 64)
      // A look removes nothing.
      let dry = try await sweep.rollcall("prune", "--keep", "0", "--json").json()
      func names(_ document: [String: Any], _ key: String) -> [String] {
        (document[key] as? [[String: Any]])?.compactMap { $0["sweep"] as? String } ?? []
      }
      #expect(names(dry, "pruned") == [ids[1], ids[2]])
      #expect(Set(names(dry, "kept")) == [ids[0], failed, newest])
      #expect(try objects(sweep) == before)

      let done = try await sweep.rollcall("prune", "--keep", "0", "--apply", "--json").json()
      #expect(names(done, "pruned") == [ids[1], ids[2]])
      #expect((done["freed"] as? Int ?? 0) > 0)
      #expect(try objects(sweep) < before)
      // The report stays, the dumps are gone and said to be; what is kept can be judged again.
      let report = try await sweep.rollcall("report", ids[1], "--json")
      #expect(try report.json()["verdict"] as? String == "pass")
      let gone = try await sweep.rollcall("report", ids[1], "--again", "--read", "--json")
      #expect(gone.status == 2)
      #expect(gone.output.contains("were pruned"), "\(gone.output.suffix(600))")
      for id in [ids[0], newest] {
        let again = try await sweep.rollcall("report", id, "--again", "--read", "--json")
        #expect(again.status == 0, "\(again.output.suffix(600))")
      }
      let bad = try await sweep.rollcall("report", failed, "--again", "--read", "--json")
      #expect(bad.status == 1)
      // Named, evidence goes, too.
      let evidence = try await sweep.rollcall("prune", "--keep", "0", "--verdict", "fail", "--json").json()
      #expect(names(evidence, "pruned") == [failed])
      let nothing = try await sweep.rollcall("prune", "--older-than", "1d", "--json").json()
      #expect(names(nothing, "pruned").isEmpty)
      // Thirty of what?
      #expect(try await sweep.rollcall("prune", "--older-than", "30", "--apply").status == 64)
    }
  }

  @Test func whatPruningLeftWhenItWasKilledGoesWithTheNext() async throws {
    try await BookedSweep.with(Self.form) { sweep in
      let first = try await night(sweep)
      let before = try objects(sweep)
      try change(sweep, to: 2)
      _ = try await night(sweep)
      let directory = sweep.rollcall.store + "/sweeps/" + first
      for run in try FileManager.default.contentsOfDirectory(atPath: directory) {
        let manifest = "\(directory)/\(run)/manifest"
        guard FileManager.default.fileExists(atPath: manifest + ".json") else { continue }
        try FileManager.default.moveItem(atPath: manifest + ".json", toPath: manifest + ".pruned.json")
      }
      // It was killed there.
      #expect(try objects(sweep) == 2 * before)
      let done = try await sweep.rollcall("prune", "--keep", "0", "--apply", "--json").json()
      #expect((done["freed"] as? Int ?? 0) > 0)
      #expect(try objects(sweep) == before)
    }
  }

  /// With the reserve; and without it, where the database can be opened since another has it open.
  @Test(.enabled("needs the right to mount a small tmpfs (root)", SmallDisk.canBeMade), arguments: [true, false])
  func aFullDiskIsPruned(withReserve: Bool) async throws {
    try await SmallDisk.with(megabytes: 400) { disk, scratch in
      var form = Self.form
      form.store = disk + "/store"
      try await BookedSweep.with(form, in: scratch) { sweep in
        let first = try await night(sweep)
        let holder = withReserve ? nil : try await hold(disk + "/store/rollcall.db", scratch)
        defer { if let holder { kill(holder, SIGKILL) } }
        try change(sweep, to: 2)
        _ = try await night(sweep)
        try #require(FileManager.default.fileExists(atPath: disk + "/store/reserve"))
        try await runTool("sh", ["-c", "cat /dev/zero > '\(disk)/filler' || true"], mustSucceed: false)
        if !withReserve {
          try FileManager.default.removeItem(atPath: disk + "/store/reserve")
          try await runTool("sh", ["-c", "cat /dev/zero > '\(disk)/more' || true"], mustSucceed: false)
        }
        let done = try await sweep.rollcall("prune", "--keep", "0", "--apply", "--json")
        #expect(done.status == 0, "\(done.errorOutput)")
        #expect((try done.json()["freed"] as? Int ?? 0) > 0)
        try FileManager.default.removeItem(atPath: disk + "/filler")
        let told = try await runPython(
          """
          import sqlite3, sys
          print(sqlite3.connect(sys.argv[1]).execute("SELECT sweep FROM event WHERE kind = 'pruned'").fetchall())
          """, [disk + "/store/rollcall.db"])
        #expect(told.output.contains(first))
      }
    }
  }

  /// Starts a reader of the database, for which its log of writes is kept and grows.
  private func hold(_ database: String, _ scratch: Scratch) async throws -> pid_t {
    let program = """
      import sqlite3, sys, time
      database = sqlite3.connect(sys.argv[1], isolation_level=None)
      database.execute("UPDATE sweep SET job = job")
      database.execute("BEGIN")
      database.execute("SELECT count(*) FROM sweep").fetchall()
      open(sys.argv[2], "w").close()
      time.sleep(600)
      """
    let held = scratch.path("held")
    let start = "setsid \"$@\" >/dev/null 2>&1 </dev/null & echo $!"
    let words = [testPython, try scratch.write("hold.py", program), database, held]
    let started = try await runTool("sh", ["-c", start, "sh"] + words)
    for _ in 0..<3000 where !FileManager.default.fileExists(atPath: held) {
      try await Task.sleep(for: .milliseconds(20))
    }
    try #require(FileManager.default.fileExists(atPath: held))
    return try #require(pid_t(started.output.trimmingCharacters(in: .whitespacesAndNewlines)))
  }

  @Test func aSweepThatAnotherReportRefersToIsNamed() async throws {
    try await BookedSweep.with(Self.form) { sweep in
      let job = try #require(sweep.scratch.text("job.yaml"))
      let first = try await night(sweep)
      try sweep.scratch.write(
        "job.yaml", job.replacing("reference: {world_size: 1}", with: "reference: {last_pass: booked}"))
      let second = try await night(sweep)
      let found = try await sweep.rollcall("prune", "--keep", "1", "--json").json()
      let entry = try #require((found["pruned"] as? [[String: Any]])?.first)
      #expect(entry["sweep"] as? String == first)
      #expect(entry["referred_by"] as? [String] == [second])
    }
  }

  @Test(arguments: [[], ["--database-only"]])
  func aHostIsDrainedInTheBackup(_ options: [String]) async throws {
    try await Scratch.with { scratch in
      var rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      try scratch.write("fleet.yaml", "hosts: [{name: gpu1, local: true}]\n")
      rollcall.environment["ROLLCALL_FLEET"] = scratch.path("fleet.yaml")
      #expect(try await rollcall("hosts", "drain", "gpu1", "--why", "fan").status == 0)
      let made = try await rollcall.run(["backup", "-o", scratch.path("backup")] + options)
      #expect(made.status == 0, "\(made.errorOutput)")
      let restored = try await rollcall("restore", scratch.path("backup"), "--store", scratch.path("other"))
      #expect(restored.status == 0, "\(restored.errorOutput)")
      #expect(scratch.text("other/drained/gpu1")?.contains("fan") == true)
    }
  }

  @Test func aRestoredStoreNamesTheSweepsThatGoOn() async throws {
    var form = Self.form
    form.work = BookedSweep.gate
    try await BookedSweep.with(form) { sweep in
      _ = try await sweep.during("run", "job.yaml") { pid in
        try await sweep.begun(1)
        kill(pid, SIGKILL)
      }
      let backup = sweep.scratch.path("backup")
      #expect(try await sweep.rollcall("backup", "-o", backup, "--database-only").status == 0)
      let restored = try await sweep.rollcall("restore", backup, "--store", sweep.scratch.path("other"), "--json")
      #expect(restored.status == 0, "\(restored.errorOutput)")
      let open = try #require(try restored.json()["open_sweeps"] as? [String])
      #expect(open.count == 1 && restored.errorOutput.contains("\(open.first ?? "?") had not ended when the backup"))
      #expect(restored.errorOutput.contains("rollcall cancel \(open.first ?? "?")"), "\(restored.errorOutput)")
      try sweep.openGate()
      #expect(try await sweep.rollcall("resume", "last").status == 0)
      #expect(try await sweep.rollcall("backup", "-o", sweep.scratch.path("second")).status == 0)
      let ended = try await sweep.rollcall(
        "restore", sweep.scratch.path("second"), "--store", sweep.scratch.path("third"))
      #expect(!ended.errorOutput.contains("had not ended"), "\(ended.errorOutput)")
    }
  }

  @Test func aBackupIsWholeAndIsAStoreAgain() async throws {
    try await BookedSweep.with(Self.form) { sweep in
      let id = try await night(sweep)
      let target = sweep.scratch.path("backup")
      let made = try await sweep.rollcall("backup", "-o", target, "--json")
      #expect(made.status == 0, "\(made.errorOutput)")
      let count = try #require(try made.json()["objects"] as? Int)
      #expect(count == (try objects(sweep)))
      // What the job ships is kept as it was, and is in the backup.
      let files = try FileManager.default.contentsOfDirectory(atPath: sweep.rollcall.store + "/files")
      #expect(!files.isEmpty)
      #expect(try Set(FileManager.default.contentsOfDirectory(atPath: target + "/files")) == Set(files))
      #expect(FileManager.default.fileExists(atPath: "\(target)/sweeps/\(id)/files.json"))
      let twice = try await sweep.rollcall("backup", "-o", target)
      #expect(twice.status == 64)
      // Nobody's file makes room for a copy, nor a link to what is empty.
      try sweep.scratch.write("notes", "mine")
      try FileManager.default.createDirectory(
        atPath: sweep.scratch.path("empty"), withIntermediateDirectories: true)
      try FileManager.default.createSymbolicLink(
        atPath: sweep.scratch.path("link"), withDestinationPath: sweep.scratch.path("empty"))
      for name in ["notes", "link"] {
        let place = sweep.scratch.path(name)
        for arguments in [["backup", "-o", place], ["restore", target, "--store", place]] {
          let taken = try await sweep.rollcall.run(arguments)
          #expect(taken.status == 64 && taken.errorOutput.contains(place), "\(arguments): \(taken.errorOutput)")
        }
      }
      #expect(sweep.scratch.text("notes") == "mine")
      #expect(try FileManager.default.destinationOfSymbolicLink(atPath: sweep.scratch.path("link")).hasSuffix("empty"))
      #expect(try await sweep.rollcall("backup", "-o", sweep.scratch.path("empty")).status == 0)

      // The store is lost.
      try FileManager.default.removeItem(atPath: sweep.rollcall.store)
      let restored = try await sweep.rollcall("restore", target)
      #expect(restored.status == 0, "\(restored.errorOutput)")
      let again = try await sweep.rollcall("report", id, "--again", "--read", "--json")
      #expect(again.status == 0, "\(again.errorOutput)")
      let next = try await night(sweep)
      #expect(next != id)

      // A damaged backup is not restored.
      let name = try #require(try FileManager.default.contentsOfDirectory(atPath: target + "/objects").first)
      try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: target + "/objects/" + name)
      try Data("other".utf8).write(to: URL(fileURLWithPath: target + "/objects/" + name))
      let elsewhere = sweep.scratch.path("elsewhere")
      let refused = try await sweep.rollcall("restore", target, "--store", elsewhere)
      #expect(refused.status == 65)
      #expect(refused.errorOutput.contains("objects/\(name): is damaged"))
      #expect(!FileManager.default.fileExists(atPath: elsewhere))

      // Nor is one that has lost an object.
      try FileManager.default.removeItem(atPath: target + "/objects/" + name)
      let short = try await sweep.rollcall("restore", target, "--store", elsewhere)
      #expect(short.status == 65)
      #expect(short.errorOutput.contains("its object \(name) is missing"))
      #expect(!FileManager.default.fileExists(atPath: elsewhere))

      // A store with one damaged object is copied without it, and so is that copy.
      let damaged = sweep.rollcall.store + "/objects/" + name
      try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: damaged)
      try Data("other".utf8).write(to: URL(fileURLWithPath: damaged))
      let rest = sweep.scratch.path("rest")
      let part = try await sweep.rollcall("backup", "-o", rest, "--json")
      #expect(part.status == 65)
      #expect(part.errorOutput.contains("objects/\(name): is damaged"), "\(part.errorOutput)")
      #expect(try part.json()["objects"] as? Int == count - 1)
      #expect(!FileManager.default.fileExists(atPath: damaged))
      let whole = sweep.scratch.path("whole")
      let known = try await sweep.rollcall("restore", rest, "--store", whole)
      #expect(known.status == 65)
      #expect(known.errorOutput.contains("its object \(name) was damaged"), "\(known.errorOutput)")
      #expect(try await sweep.rollcall("report", id, "--store", whole).status == 0)
      // A gather of the same content mends it, for the sweeps before it, too.
      _ = try await night(sweep)
      #expect(try await sweep.rollcall("backup", "-o", sweep.scratch.path("mended")).status == 0)
      #expect(try await sweep.rollcall("report", id, "--again", "--read", "--json").status == 0)

      // A damaged file of the job is named, and keeps no dump from being restored.
      let file = try #require(files.first)
      try Data("other".utf8).write(to: URL(fileURLWithPath: sweep.rollcall.store + "/files/" + file))
      let named = sweep.scratch.path("named")
      for arguments in [["backup", "-o", named], ["restore", named, "--store", sweep.scratch.path("again")]] {
        let told = try await sweep.rollcall.run(arguments)
        #expect(told.status == 65)
        #expect(told.errorOutput.contains("files/\(file): is damaged"), "\(told.errorOutput)")
        #expect(told.errorOutput.contains("sweeps/\(id)/files.json: its file work.sh"), "\(told.errorOutput)")
      }
    }
  }
}
