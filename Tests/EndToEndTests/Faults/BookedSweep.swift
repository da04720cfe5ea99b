import Foundation
import TestSupport
import Testing

/// A sweep over real sshd processes whose workload keeps a book of its own, outside the store: which attempts began,
/// and the SHA-256 of what each dumped. Whatever happened on the way, `check` holds the end against the book and
/// against a sweep of the same job that nothing disturbed.
struct BookedSweep {
  let scratch: Scratch
  let servers: [LoopbackSSHD]
  var rollcall: RollcallBinary

  /// What differs from one test to the next.
  struct Form {
    /// Shell text that each run executes between its entry in the book and its dumps.
    var work = ":"
    /// Shell text that each run executes at its end.
    var last = ":"
    /// Runs at once on one host.
    var slots = 2
    /// Of the same cells.
    var repetitions = 1
    /// More lines of the job's `run`.
    var limits: [String] = []
    /// Bytes of each rank's second file, which is no tensor.
    var ballast = 0
    var hosts = ["alpha", "beta"]
    /// All hosts are this machine, each with a work directory of its own.
    var isLocal = false
    /// By host; others have theirs in the scratch directory, and so have all hosts of the undisturbed sweep.
    var workdirs: [String: String] = [:]
    /// nil: in the scratch directory.
    var store: String?
    /// More lines of the fleet file; the undisturbed sweep's has none.
    var fleetLines = ""
  }

  /// Starts the servers, writes the job, hands all over, and ends what still lives.
  static func with(_ form: Form = Form(), in place: Scratch? = nil, _ body: (BookedSweep) async throws -> Void)
    async throws
  {
    guard let scratch = place else {
      try await Scratch.with { try await with(form, in: $0, body) }
      return
    }
    var servers: [LoopbackSSHD] = []
    defer { for server in servers { server.stop() } }
    for name in form.isLocal ? [] : form.hosts { servers.append(try await LoopbackSSHD(in: scratch, alias: name)) }
    try await with(form, servers: servers, in: scratch, body)
  }

  /// The same with servers that stand already.
  static func with(
    _ form: Form, servers: [LoopbackSSHD], in scratch: Scratch, _ body: (BookedSweep) async throws -> Void
  ) async throws {
    let configurations = try servers.map { try String(contentsOfFile: $0.configurationFile, encoding: .utf8) }
    try scratch.write("ssh_config", configurations.joined(separator: "\n"), permissions: 0o600)
    try writeSources(scratch, ballast: form.ballast)
    for book in ["book", "twin-book"] { try scratch.directory(book) }
    try scratch.write("work.sh", script(form.work, last: form.last), permissions: 0o755)
    // The twin works at once and on disks that do not fill.
    try scratch.write("twin/work.sh", script(":", last: ":"), permissions: 0o755)
    try scratch.write("job.yaml", job(form, book: scratch.path("book"), in: scratch))
    try scratch.write("twin/job.yaml", job(form, book: scratch.path("twin-book"), in: scratch))
    try scratch.write(
      "fleet.yaml", form.fleetLines + fleet(form, in: scratch, workdirs: form.workdirs, leases: "leases"))
    try scratch.write("twin/fleet.yaml", fleet(form, in: scratch, workdirs: [:], leases: "twin-leases"))
    let sweep = BookedSweep(
      scratch: scratch, servers: servers,
      rollcall: RollcallBinary(
        store: form.store ?? scratch.path("store"), directory: scratch.path,
        environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")]))
    try await body(sweep)
  }

  func server(_ alias: String) throws -> LoopbackSSHD { try #require(servers.first { $0.alias == alias }) }

  // MARK: - The job

  private static let layers = 0..<3

  /// Dumps of world sizes 1 and 2: small tensors that every rank holds alike, and ballast.
  private static func writeSources(_ scratch: Scratch, ballast: Int) throws {
    for world in 1...2 {
      for rank in 0..<world {
        for layer in layers {
          let values = (0..<64).map { Float($0 * (layer + 1)) / 8 }
          try scratch.write("source/\(world)/layer0\(layer)_Block_rank\(rank).npy", npy(values, columns: 16))
        }
        guard ballast > 0 else { continue }
        var generator = SystemRandomNumberGenerator()
        let words = (0..<ballast / 8).map { _ in generator.next() }
        try scratch.write("source/\(world)/trace_rank\(rank).bin", words.withUnsafeBytes { Array($0) })
      }
    }
  }

  private static func npy(_ values: [Float], columns: Int) -> [UInt8] {
    var header = "{'descr': '<f4', 'fortran_order': False, 'shape': (\(values.count / columns), \(columns)), }"
    header += String(repeating: " ", count: 64 - (10 + header.utf8.count + 1) % 64) + "\n"
    let count = UInt16(header.utf8.count)
    return [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(count & 0xFF), UInt8(count >> 8)] + Array(header.utf8)
      + values.flatMap { value in withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) } }
  }

  private static func script(_ work: String, last: String) -> String {
    """
    set -e
    echo "$ROLLCALL_RUN $ROLLCALL_ATTEMPT $PLACE" >> "$BOOK/starts"
    echo began
    \(work)
    cp "$SOURCE/$ROLLCALL_WORLD_SIZE"/* "$ROLLCALL_DUMP_DIR/"
    cd "$ROLLCALL_DUMP_DIR"
    sums=$(sha256sum * | sed "s/^/$ROLLCALL_RUN $ROLLCALL_ATTEMPT /")
    echo "$sums" >> "$BOOK/sums"
    \(last)
    echo done

    """
  }

  private static func job(_ form: Form, book: String, in scratch: Scratch) -> String {
    let limits = form.limits.map { "\n  \($0)" }.joined()
    return """
      name: booked
      matrix: {world_size: [1, 2]}
      repeat: \(form.repetitions)
      run:
        command: sh work.sh
        files: [work.sh]
        env:
          BOOK: \(book)
          SOURCE: \(scratch.path("source"))
          PLACE: "${{ host }}"
        gpus: 0
        timeout: 10m
        retries: 3\(limits)
      dumps: {layout: npy, select: warm-up}
      compare: {reference: {world_size: 1}, noise: strict}
      logs: {require: ["^done$"]}

      """
  }

  private static func fleet(_ form: Form, in scratch: Scratch, workdirs: [String: String], leases: String) -> String {
    let hosts = form.hosts.map { name in
      "  - {name: \(name), \(form.isLocal ? "local: true" : "ssh: \(name)"), workdir: \(workdirs[name] ?? scratch.path("work-\(name)")), "
        + "lease_dir: \(scratch.path(leases)), cpu_slots: \(form.slots)}"
    }
    return "ssh_config: \(scratch.path("ssh_config"))\nhosts:\n" + hosts.joined(separator: "\n") + "\n"
  }

  // MARK: - Running

  /// Runs a verb and kills it after so many seconds, if it lives so long.
  func killed(after seconds: Double, _ arguments: [String]) async throws -> RollcallBinary.Outcome {
    let result = try await runTool(
      "timeout",
      ["--foreground", "--preserve-status", "-s", "KILL", String(seconds), try RollcallBinary.path] + arguments,
      environment: rollcall.variables, directory: rollcall.directory, mustSucceed: false)
    return RollcallBinary.Outcome(status: result.status, output: result.output, errorOutput: result.errorOutput)
  }

  /// Starts a verb, calls `body` with its process id while it works, and gives how it ended.
  ///
  /// - Parameter told: A file that takes standard error, so that it can be read meanwhile.
  func during(_ arguments: String..., told: String = "", body: (Int32) async throws -> Void) async throws
    -> RollcallBinary.Outcome
  {
    let file = "pid-\(UInt32.random(in: 0...UInt32.max))"
    async let ended = runTool(
      "sh",
      [
        "-c", #"echo $$ > "$1"; [ -z "$2" ] || exec 2> "$2"; shift 2; exec "$@""#, "sh", scratch.path(file), told,
        try RollcallBinary.path,
      ] + arguments,
      environment: rollcall.variables, directory: rollcall.directory, mustSucceed: false)
    var pid: Int32?
    while pid == nil {
      try await Task.sleep(for: .milliseconds(20))
      pid = scratch.text(file).flatMap { Int32($0.trimmingCharacters(in: .newlines)) }
    }
    if let pid { try await body(pid) }
    let result = try await ended
    return RollcallBinary.Outcome(status: result.status, output: result.output, errorOutput: result.errorOutput)
  }

  /// Shell text that waits for `open`.
  static let gate = #"until [ -e "$BOOK/open" ]; do sleep 0.1; done"#

  func openGate() throws { try scratch.write("book/open", "") }

  /// What the store says of the sweep's runs while it is driven.
  func states() async throws -> [String] {
    let sweeps = try #require(try await rollcall("status", "last", "--json").json()["sweeps"] as? [[String: Any]])
    return (sweeps.first?["runs"] as? [[String: Any]] ?? []).compactMap { $0["state"] as? String }
  }

  /// Whether `status` tells a text.
  func told(_ text: String) async throws -> Bool { try await rollcall("status", "last").output.contains(text) }

  /// Waits until something holds.
  /// - Throws: `ToolFailure` after three minutes: it never will.
  func until(_ condition: () async throws -> Bool) async throws {
    let end = ContinuousClock.now + .seconds(180)
    while try await !condition() {
      guard ContinuousClock.now < end else { throw ToolFailure(description: "what the test waits for never came") }
      try await Task.sleep(for: .milliseconds(50))
    }
  }

  /// Waits until so many runs have entered themselves into the book, and their launches are answered.
  func begun(_ count: Int) async throws {
    try await until { starts.count >= count }
    try await until { try await states().count { $0 == "running" } >= count }
  }

  // MARK: - The book

  /// `run attempt host`, one for each time that the command was started.
  var starts: [[Substring]] {
    (scratch.text("book/starts") ?? "").split(separator: "\n").map { $0.split(separator: " ") }
  }

  /// Run and attempt → the hashes of the files that it dumped.
  private func sums(_ book: String = "book") -> [String: Set<String>] {
    var sums: [String: Set<String>] = [:]
    for line in (scratch.text("\(book)/sums") ?? "").split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count == 4 else { continue }
      sums["\(words[0]) \(words[1])", default: []].insert(words[2...].joined(separator: " "))
    }
    return sums
  }

  // MARK: - The three checks

  /// Holds a finished sweep against the book and against its twin.
  ///
  /// - Parameters:
  ///   - report: `rollcall.sweep/1` of the sweep that met the faults.
  ///   - failed: The one run that is to fail; then there is no report without faults to hold this one against.
  func check(_ report: [String: Any], failed: String? = nil) async throws {
    let id = try #require(report["id"] as? String)
    let runs = try Self.runs(of: report)
    try #require(!runs.isEmpty)

    // Exactly once each: what the report calls an attempt began once, or never where it was refused.
    let counts = Dictionary(grouping: starts) { "\($0[0]) \($0[1])" }.mapValues(\.count)
    for (attempt, count) in counts { #expect(count == 1, "attempt \(attempt) began \(count) times") }
    let sums = sums()
    for run in runs {
      let name = try #require(run["id"] as? String)
      if name == failed { continue }
      let attempts = try #require(run["attempts"] as? [[String: Any]])
      let last = try #require(attempts.last)
      #expect(last["state"] as? String == "succeeded", "\(name): \(attempts)")
      let key = "\(name) \(try #require(last["number"] as? Int))"
      #expect(counts[key] == 1, "\(key) is told as succeeded and began \(counts[key] ?? 0) times")

      // Every file whole: the store's own bytes against what the workload told.
      let told = try #require(sums[key], "\(key) told no hashes")
      let stored = try await storedSums(sweep: id, run: name)
      #expect(stored == told, "the files of \(key)")
    }

    if failed != nil { return }
    let expected = try await twin()
    let found = try Self.normalised(report, store: rollcall.store)
    if found != expected {
      let lines = found.split(separator: "\n").difference(from: expected.split(separator: "\n")).prefix(12).map {
        switch $0 {
        case .insert(_, let line, _): "+ \(line)"
        case .remove(_, let line, _): "- \(line)"
        }
      }
      Issue.record("the report differs from that of a sweep without faults: \(lines.joined(separator: "\n"))")
    }
  }

  /// `hash name` of every file that the store keeps for a run.
  private func storedSums(sweep: String, run: String) async throws -> Set<String> {
    let directory = "\(rollcall.store)/sweeps/\(sweep)/\(run)"
    let text = try await runTool(
      "sh", ["-c", "find . -path ./attempts -prune -o -type f ! -name manifest.json -exec sha256sum {} +"],
      directory: directory
    ).output
    return Set(
      text.split(separator: "\n").map { line in
        let words = line.split(separator: " ")
        return "\(words[0]) \(words.last?.split(separator: "/").last ?? "")"
      })
  }

  /// The same job on the same hosts with nothing in its way.
  private func twin() async throws -> String {
    let undisturbed = RollcallBinary(
      store: scratch.path("twin-store"), directory: scratch.path("twin"),
      environment: ["ROLLCALL_FLEET": scratch.path("twin/fleet.yaml")])
    let outcome = try await undisturbed("run", "job.yaml", "--json")
    #expect(outcome.status == 0, "the twin: \(outcome.errorOutput) \(outcome.output.suffix(2000))")
    return try Self.normalised(try outcome.json(), store: undisturbed.store)
  }

  static func runs(of report: [String: Any]) throws -> [[String: Any]] {
    try #require(report["cells"] as? [[String: Any]]).flatMap { ($0["runs"] as? [[String: Any]]) ?? [] }
  }

  /// A report without what may differ between two sweeps of one job: times, ids, places, and attempts but the last.
  static func normalised(_ report: [String: Any], store: String) throws -> String {
    let id = try #require(report["id"] as? String)
    let dropped: Set<String> = ["started", "ended", "duration_s", "host", "hosts", "fingerprint", "number"]
    func plain(_ value: Any, key: String?) -> Any {
      switch value {
      case let members as [String: Any]:
        return Dictionary(
          uniqueKeysWithValues: members.filter { !dropped.contains($0.key) }.map {
            ($0.key, plain($0.value, key: $0.key))
          })
      case let values as [Any]:
        return (key == "attempts" ? values.suffix(1) : values[...]).map { plain($0, key: nil) }
      case let text as String:
        return text.replacing(id, with: "SWEEP").replacing(store, with: "STORE").replacing(/-try\d+/, with: "-try")
      default: return value
      }
    }
    let data = try JSONSerialization.data(
      withJSONObject: plain(report, key: nil), options: [.sortedKeys, .prettyPrinted])
    return String(decoding: data, as: UTF8.self)
  }
}
