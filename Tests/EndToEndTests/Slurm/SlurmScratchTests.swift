import Foundation
import TestSupport
import Testing

/// Dumps on the own disks of the nodes, which the job brings at its end.
@Suite(
  .serialized,
  .enabled(if: SlurmCluster.isAvailable, "needs Slurm and root; as root: Deploy/slurm/cluster install"))
struct SlurmScratchTests {
  /// Writes dumps on each node, notes their hashes, then does what it is told.
  private static let program = """
    rank=${NODE_RANK:-0}
    cd "$ROLLCALL_DUMP_DIR" || exit 9
    mkdir -p "part $rank/deep"
    head -c 300000 /dev/urandom >"part $rank/deep/rank$rank.bin"
    head -c 1000 /dev/urandom >"rank $rank.bin"
    case $1 in
    clash) echo "$rank" >same.bin ;;
    full) head -c 6000000 /dev/urandom >large.bin ;;
    *) echo equal >same.bin ;;
    esac
    find . -type f -exec sha256sum {} + | sed "s/^/$1 /" >>"$BOOK/sums"
    echo "$1 $rank $SLURMD_NODENAME $ROLLCALL_DUMP_DIR" >>"$BOOK/book"
    case $1 in
    gang) until [ -e "$BOOK/go" ]; do sleep 0.2; done ;;
    limit) sleep 600 ;;
    fails) exit 3 ;;
    esac

    """

  private func writeJob(_ scratch: Scratch, _ name: String, _ what: [String]) throws {
    let gangs = what.filter { ["gang", "clash"].contains($0) }
    try scratch.write("act.sh", Self.program)
    try scratch.write(
      "\(name).yaml",
      """
      name: \(name)
      matrix: {what: [\(what.joined(separator: ", "))]}
      run:
        command: sh act.sh ${{ what }}
        files: [act.sh]
        env: {BOOK: "\(scratch.path)"}
        gpus: 0
        timeout: 5m
        retries: 0
      overrides: [\(gangs.map { "{when: {what: \($0)}, run: {nodes: 2}}" }.joined(separator: ", "))]
      """)
  }

  /// Lines "WHAT HASH  ./NAME" of what a run's directory holds.
  private func found(_ what: String, in attempt: String) async throws -> [String] {
    try await runTool("sh", ["-c", "cd \(attempt)/dumps && find . -type f -exec sha256sum {} +"]).output
      .split(separator: "\n").map { "\(what) \($0)" }.sorted()
  }

  private func written(_ what: String, _ scratch: Scratch) -> [String] {
    let sums = (scratch.text("sums") ?? "").split(separator: "\n").map(String.init)
    return Set(sums.filter { $0.hasPrefix(what + " ") }).sorted()
  }

  private func attempt(_ position: Int, _ scratch: Scratch) throws -> String {
    let folder = scratch.path("shared/attempts")
    let names = try FileManager.default.contentsOfDirectory(atPath: folder)
    return folder + "/" + (try #require(names.last { $0.hasSuffix("-run\(position)-try1") }))
  }

  private func states(_ outcome: RollcallBinary.Outcome) throws -> [String: [String: Any]] {
    let cells = try #require(try outcome.json()["cells"] as? [[String: Any]], "\(outcome.errorOutput)")
    let runs = cells.flatMap { ($0["runs"] as? [[String: Any]]) ?? [] }
    return Dictionary(runs.compactMap { run in (run["id"] as? String).map { ($0, run) } }) { first, _ in first }
  }

  private func leftovers(_ cluster: SlurmCluster) async throws -> String {
    try await runTool("sh", ["-c", "find \(cluster.directory)/disk* -mindepth 1"]).output
  }

  @Test(.timeLimit(.minutes(10))) func dumpsAreBroughtFromTheNodesWhateverBecomesOfTheirRun() async throws {
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch) { cluster in
        try writeJob(scratch, "acts", ["gang", "alone", "fails", "limit", "clash"])
        let disk = cluster.directory + "/disk"
        let rollcall = try cluster.rollcall(scratch, keys: ["scratch: \(disk)", "exclusive: true"])
        async let ended = rollcall("run", "acts.yaml", "--json")
        let began = try await SlurmCluster.wait {
          let book = scratch.text("book") ?? ""
          return book.contains("gang 0") && book.contains("gang 1") && book.contains("limit 0")
        }
        try #require(began, "\(scratch.text("book") ?? "")")
        let gang = (scratch.text("book") ?? "").split(separator: "\n").filter { $0.hasPrefix("gang ") }
        for line in gang.map({ $0.split(separator: " ") }) {
          #expect(line[3].hasPrefix(disk + "/rollcall-"))
          // Each on its own node's disk.
          if FileManager.default.fileExists(atPath: cluster.directory + "/own-disks") {
            let folder = line[3].replacingOccurrences(of: disk + "/", with: "\(disk).\(line[2])/")
            let names = try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
            #expect(names == ["part \(line[1])", "rank \(line[1]).bin", "same.bin"])
          }
        }
        let limited = try #require(try await cluster.jobs().last { $0.name.contains("-run4-") })
        try await cluster("scontrol", "update", "JobId=\(limited.number)", "TimeLimit=1")
        try scratch.write("go", "")

        let outcome = try await ended
        #expect(outcome.status == 3, "\(outcome.errorOutput)")
        let runs = try states(outcome)
        func state(_ what: String) -> String { runs["what=\(what)"]?["state"] as? String ?? "none" }
        #expect(state("gang") == "succeeded", "\(outcome.output.suffix(3000))")
        #expect(state("alone") == "succeeded")
        #expect(state("fails") == "failed")
        #expect(state("limit") == "timed-out", "Slurm's limit came first, and left time")
        let end = try await cluster.jobs().first { $0.number == limited.number }?.state
        #expect(end == "FAILED", "it ended by itself, before Slurm ended it")
        for (index, what) in ["gang", "alone", "fails", "limit"].enumerated() {
          let there = try await found(what, in: try attempt(index + 1, scratch))
          #expect(there == written(what, scratch), "\(what): bit by bit what was written")
          #expect(there.count == (what == "gang" ? 5 : 3))
        }
        // Two nodes wrote one file, each its own.
        #expect(state("clash") == "lost")
        #expect(outcome.output.contains("another node wrote ./same.bin with other contents"), "\(outcome.output)")
        let left = try await leftovers(cluster)
        #expect(left.isEmpty, "\(left)")
      }
    }
  }

  @Test(.timeLimit(.minutes(6))) func aFullWorkDirectoryIsSaidAndNoSuccess() async throws {
    try await Scratch.with { scratch in
      // Before the nodes come up, which have a view of their own.
      let small = try scratch.directory("shared")
      try await runTool("mount", ["-t", "tmpfs", "-o", "size=5m", "rollcall-test", small])
      do {
        try await SlurmCluster.with(in: scratch) { cluster in
          try writeJob(scratch, "full", ["full", "alone"])
          // What a run has left that was killed, and is gone since.
          let disks = FileManager.default.fileExists(atPath: cluster.directory + "/own-disks")
          for disk in disks ? ["disk.n1", "disk.n2", "disk.n3", "disk.n4"] : ["disk"] {
            let left = "slurm/\(disk)/rollcall-old.t"
            try scratch.write(left + "/x.bin", "x")
            try scratch.write(left + ".of", small + "/attempts/old\n")
          }
          let rollcall = try cluster.rollcall(scratch, keys: ["scratch: \(cluster.directory)/disk", "max_jobs: 1"])
          let outcome = try await rollcall("run", "full.yaml", "--json")
          let runs = try states(outcome)
          #expect(runs["what=full"]?["state"] as? String == "lost", "\(outcome.output.suffix(3000))")
          let attempts = runs["what=full"]?["attempts"] as? [[String: Any]] ?? []
          let why = attempts.last?["why"] as? String ?? ""
          #expect(why.contains("its dumps were not all copied from its nodes: n"), "\(runs)")
          #expect(why.contains("No space left on device"), "\(why)")
          // What filled it is gone again.
          #expect(runs["what=alone"]?["state"] as? String == "succeeded")
          for line in (scratch.text("book") ?? "").split(separator: "\n").map({ $0.split(separator: " ") }) {
            let disk = cluster.directory + "/disk" + (disks ? ".\(line[2])" : "")
            let left = try FileManager.default.contentsOfDirectory(atPath: disk)
            #expect(left.isEmpty, "\(line[2]): \(left)")
          }

          try writeJob(scratch, "none", ["alone"])
          let none = try cluster.rollcall(scratch, keys: ["scratch: /proc/none"])
          let refused = try await none("run", "none.yaml", "--json")
          #expect(try states(refused)["what=alone"]?["state"] as? String == "lost")
          #expect(refused.output.contains("no directory for dumps could be made on n"), "\(refused.output)")
        }
      } catch {
        try await runTool("umount", ["--lazy", small])
        throw error
      }
      try await runTool("umount", ["--lazy", small])
    }
  }
}
