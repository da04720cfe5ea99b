import Foundation
import OrderedCollections
import Planning
import TestSupport
import Testing

@Suite struct PlannerTests {
  static let sweep = """
    name: tp-sweep
    matrix:
      world_size: [1, 2, 8]
      backend: [eager, compile]
      one_shot: [false, true]
      exclude: [{world_size: 8, one_shot: true}]
    repeat: 2
    run:
      command: python3 tiny_tp.py --nproc ${{ world_size }} --backend ${{ backend }} -o "${{ dump_dir }}/x" ${{ one_shot }}
      env:
        ATOM_FWD_DUMP_DIR: ${{ dump_dir }}
        ATOM_FWD_DUMP_ONE_SHOT: ${{ one_shot }}
        MASTER_PORT: 29500
      files: [workloads/tiny_tp.py]
      gpus: ${{ world_size }}
      nodes: 1
      hosts: {gpu: h200}
      timeout: 30m
      stall_timeout: 10m
      retries: 3
    dumps:
      layout: atom
      slots: 4
      select: prefill
      expect: {layers: 0-15, stages: [Block]}
    overrides:
      - when: {one_shot: true}
        dumps: {select: warm-up}
    compare:
      reference: {world_size: 1}
      noise: measured
      shard: auto
    logs: {forbid: ["(?i)failed jit build", "(?i)falling back"], require: []}
    schedule: {cron: "30 2 * * *", timezone: Europe/Berlin, missed: run-once, overlap: skip}
    notify: [{webhook: https://example.org/x, on: change}]

    """

  @Test(
    arguments: [
      "HF_TOKEN", "hfToken", "OPENAI_API_KEY", "apikey", "PGPASSWORD", "DB_PASSWD", "AWS_SECRET_ACCESS_KEY",
      "GOOGLE_CREDENTIALS", "HTTP_AUTH", "KEY",
    ])
  func secretsAreNotDisplayed(name: String) throws {
    let spec = RunSpec(
      command: "a", env: [name: "v1", "MODE": "v2", "TOKENIZERS_PARALLELISM": "v3", "MAX_TOKENS": "v4"])
    #expect(spec.displayed.env == [name: "***", "MODE": "v2", "TOKENIZERS_PARALLELISM": "v3", "MAX_TOKENS": "v4"])
    #expect(spec.resolved([String: String]()) == spec)
  }

  @Test func plansTheSweepOfTheContract() throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.write("workloads/tiny_tp.py", "pass")
    let plan = try Planner.plan(jobFile: scratch.write("job.yaml", Self.sweep))
    #expect(plan.name == "tp-sweep")
    #expect(plan.baseDirectory == scratch.path)
    #expect(plan.axes == ["world_size", "backend", "one_shot"])
    #expect(
      plan.cells.map(\.label) == [
        "world_size=1 backend=eager one_shot=false", "world_size=1 backend=eager one_shot=true",
        "world_size=1 backend=compile one_shot=false", "world_size=1 backend=compile one_shot=true",
        "world_size=2 backend=eager one_shot=false", "world_size=2 backend=eager one_shot=true",
        "world_size=2 backend=compile one_shot=false", "world_size=2 backend=compile one_shot=true",
        "world_size=8 backend=eager one_shot=false", "world_size=8 backend=compile one_shot=false",
      ])
    #expect(plan.cells.map(\.worldSize) == [1, 1, 1, 1, 2, 2, 2, 2, 8, 8])
    #expect(plan.cells.map(\.run.gpus) == [1, 1, 1, 1, 2, 2, 2, 2, 8, 8])
    #expect(plan.repetitions == 2)
    let cell = plan.cells[5]
    #expect(
      cell.resolved(["dump_dir": "/d"]).env == [
        "ATOM_FWD_DUMP_DIR": "/d", "ATOM_FWD_DUMP_ONE_SHOT": "1", "MASTER_PORT": "29500", "ROLLCALL_WORLD_SIZE": "2",
        "ROLLCALL_BACKEND": "eager", "ROLLCALL_ONE_SHOT": "1",
      ])
    #expect(
      cell.resolved(["dump_dir": "/d \"$x"]).command
        == #"python3 tiny_tp.py --nproc 2 --backend eager -o "/d \"\$x/x" true"#)
    #expect(cell.run.displayed.command.contains("${{ dump_dir }}"))
    #expect(cell.run.files == ["workloads/tiny_tp.py"])
    #expect(cell.run.hosts == ["gpu": "h200"])
    #expect(cell.run.timeout == 1_800)
    #expect(cell.run.stallTimeout == 600)
    #expect(cell.run.retries == 3)
    #expect(plan.cells[4].dumps?.select == .prefill)
    #expect(
      cell.dumps
        == DumpsSpec(
          layout: "atom", slots: 4, select: .warmUp, expect: .init(layers: Array(0...15), stages: ["Block"])))
    #expect(plan.compare == CompareSpec(reference: .cell(["world_size": .int(1)])))
    #expect(plan.referenceCell(for: cell)?.label == "world_size=1 backend=eager one_shot=true")
    #expect(plan.referenceCells().count { $0.key == $0.value.id } == 4)
    #expect(plan.logs.forbid == ["(?i)failed jit build", "(?i)falling back"])
    #expect(plan.schedule == ScheduleSpec(cron: "30 2 * * *", timezone: "Europe/Berlin"))
    #expect(plan.notify == [NotifySpec(webhook: "https://example.org/x")])
    #expect(plan.warnings == [])
    let copy = try JSONDecoder().decode(Plan.self, from: JSONEncoder().encode(plan))
    #expect(copy == plan)
  }

  @Test func anIdSurvivesReordering() async throws {
    let a = try plan(matrix: "{a: [1, 2], b: [x]}")
    let b = try plan(matrix: "{b: [x], a: [2, 1]}")
    #expect(Set(a.cells.map(\.id)) == Set(b.cells.map(\.id)))
    #expect(Set(a.cells.map(\.id)).count == 2)
    // SHA-256 of {"a":1,"b":"x"}
    let hash = try await runTool("sh", ["-c", #"printf '{"a":1,"b":"x"}' | sha256sum | cut -c1-12"#])
    #expect(a.cells[0].id + "\n" == hash.output)
  }

  @Test func textAndNumbersAreDifferentCells() throws {
    let ids = try plan(matrix: "{a: [1, \"1\", true, \"true\", 1.0, 010, 1.10, 1e5]}").cells
    #expect(Set(ids.map(\.id)).count == 8)
    #expect(ids.map { $0.run.env["ROLLCALL_A"] } == ["1", "1", "1", "true", "1.0", "010", "1.10", "1e5"])
  }

  @Test func theSampleJobsWarnOfNothing() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let jobs = root.appendingPathComponent("Jobs").path
    let names = try FileManager.default.contentsOfDirectory(atPath: jobs).filter { $0.hasSuffix(".yaml") }
    #expect(names.contains("planted-bug.yaml"))
    for name in names { #expect(try Planner.plan(jobFile: "\(jobs)/\(name)").warnings == [], "\(name)") }
  }
}
