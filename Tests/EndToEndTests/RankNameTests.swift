import Foundation
import TestSupport
import Testing

/// Sweeps whose files name their ranks otherwise than ATOM's, or not at all.
@Suite(.timeLimit(.minutes(4))) struct RankNameTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var testDescription: String
    /// Of the job file, besides what all have.
    var matrix = "world_size: [1, 2]"
    var dumps = "layout: npy"
    var reference = "{world_size: 1}"
    /// Python: saves `x` for a world of `size`, with the value of the matrix in `value`.
    var script: String
    var status: Int
    /// How many tensors were compared.
    var compared = 1
    var said = ""
  }

  static let cases = [
    Case(
      testDescription: "one process", matrix: "side: [1, 2]", reference: "{side: 1}",
      script: "save('logits.npy'); save('more/hidden.npy')", status: 0, compared: 2),
    Case(
      testDescription: "one process, which differs", matrix: "side: [1, 2]", reference: "{side: 1}",
      script: "x[3] += value; save('logits.npy')", status: 1, said: "logits"),
    Case(
      testDescription: "one process, against a directory", matrix: "side: [1]", reference: "./golden",
      script: "save('logits.npy')", status: 0),
    Case(
      testDescription: "ranks from two on",
      script: "[save(f'rank_{rank}/logits.npy' if size > 1 else 'logits.npy') for rank in range(size)]", status: 0),
    Case(
      testDescription: "several ranks without names", script: "save('logits.npy')", status: 2,
      said: "ranks 0-1: no file names its rank"),
    Case(
      testDescription: "rank 0 alone writes", dumps: "layout: npy, expect: {ranks: 1}", script: "save('logits.npy')",
      status: 0, said: "of 2 ranks the first 1 leave dumps"),
    Case(
      testDescription: "rank 0 alone was to write", dumps: "layout: npy, expect: {ranks: 1}",
      script: "[save(f'rank{rank}/logits.npy') for rank in range(size)]", status: 2,
      said: "rank 1: unexpected in a world of 1"),
    Case(
      testDescription: "a pattern's ranks",
      dumps: "layout: custom, pattern: 'dev(?<rank>[0-9]+)/l(?<layer>[0-9]+)_(?<stage>[A-Za-z]+)[.]npy'",
      script: "[save(f'dev{rank}/l0_Block.npy') for rank in range(size)]", status: 0),
    Case(
      testDescription: "one of a pattern's ranks lost",
      dumps: "layout: custom, pattern: 'dev(?<rank>[0-9]+)_l(?<layer>[0-9]+)_(?<stage>[A-Za-z]+)[.]npy'",
      script: "save('dev0_l0_Block.npy')", status: 2, said: "rank 1: no file"),
  ]

  @Test(arguments: cases)
  func ranksAreToldAsTheFilesNameThem(_ given: Case) async throws {
    try await Scratch.with { scratch in
      try scratch.write(
        "fleet.yaml",
        "hosts: [{name: here, local: true, workdir: \(scratch.path)/work, lease_dir: \(scratch.path)/leases}]")
      let script = try scratch.write(
        "dump.py",
        """
        import os, sys
        import numpy
        folder, size, value = sys.argv[1], int(os.environ.get("ROLLCALL_WORLD_SIZE", 1)), float(sys.argv[2])
        x = numpy.arange(8.0)
        def save(name):
            os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
            numpy.save(os.path.join(folder, name), x)
        \(given.script)
        """)
      if given.reference == "./golden" {
        try await runPython(
          try String(contentsOfFile: script, encoding: .utf8), [try scratch.directory("golden"), "1"])
      }
      let axis = given.matrix.split(separator: ":")[0]
      try scratch.write(
        "job.yaml",
        """
        name: names
        matrix: {\(given.matrix)}
        run: {command: '"\(testPython)" "\(script)" "$ROLLCALL_DUMP_DIR" ${{ \(axis) }}', gpus: 0}
        dumps: {\(given.dumps)}
        compare: {reference: \(given.reference), shard: replicated, noise: strict}
        """)
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      let sweep = try await rollcall.run(["run", "job.yaml", "--fleet", "fleet.yaml", "--json"])
      #expect(sweep.status == given.status, "\(sweep.output) \(sweep.errorOutput)")
      #expect(given.said.isEmpty || sweep.output.contains(given.said), "\(sweep.output)")
      let pairs = try #require(try sweep.json()["pairs"] as? [[String: Any]])
      for pair in pairs {
        let comparison = try #require(pair["comparison"] as? [String: Any])
        let rows = try #require(comparison["rows"] as? [[String: Any]])
        #expect(rows.count == given.compared)
        // What the store puts before a name is no part of it.
        #expect(rows.allSatisfy { ($0["stage"] as? String)?.contains("shared") == false }, "\(rows)")
      }
    }
  }
}
