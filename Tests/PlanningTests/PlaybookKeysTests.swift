import OrderedCollections
import Planning
import TestSupport
import Testing

@Suite("The playbook section of the job file, and changed plans")
struct PlaybookKeysTests {
  private let head =
    "name: t\nmatrix: {world_size: [1, 2]}\nrun: {command: run, env: {A: \"1\"}}\n"
    + "dumps: {layout: atom}\ncompare: {reference: {world_size: 1}}\n"

  @Test(
    "what cannot be read is refused with its place and the right word",
    arguments: [
      ("{ladder: {strategis: [a]}}", "did you mean `strategies`"),
      ("{components: {a: {on: {env: {X: 1}}}}, isolate: [b]}", "there is no component `b`"),
      ("{components: {a: {}}}", "a component needs `on`, `off` or both"),
      ("{components: {a: {on: {}}}}", "a change needs `env`, `arguments` or `overlay`"),
      ("{components: {a: {on: {overlay: {../x.yaml: {a: 1}}}}}}", "an overlay is named like a file in files/"),
      ("{components: {a: {on: {overlay: {x.yaml: 1}}}}}", "expected a mapping"),
      ("{bisect: {layers: 5-2}}", "expected layers"), ("{bisect: {width: 1}}", "2"),
      ("{bisect: {layers_env: \"a b\"}}", "cannot name an environment variable"),
      ("{components: {a: {on: {env: {ROLLCALL_X: 1}}}}}", "set by Rollcall"),
    ])
  func refused(section: String, message: String) {
    let found = problems(head + "playbook: \(section)\n")
    #expect(found.count == 1, "\(found)")
    // The suggestion stands in brackets behind the message.
    let text = (found.first ?? "").replacing("[", with: "did you mean `").replacing("]", with: "`")
    #expect(text.contains(message), "\(found)")
    #expect(found.first?.hasPrefix("6:") == true)
  }

  @Test func aChangeRunsItsOwnCellsAndLeavesTheReferenceAlone() throws {
    let change = JobChange(
      cells: [["world_size": .int(1)], ["world_size": .int(16)]], repetitions: 2,
      everywhere: [RunChange(env: ["A": "2"])],
      target: [RunChange(env: ["B": "3"], arguments: ["--flag", "two words"])],
      expect: DumpsSpec.Expect(layers: [4], stages: ["Block"]))
    let plan = try Planner.plan(text: head, path: "job.yaml", change: change)
    #expect(plan.cells.map(\.worldSize) == [1, 16])
    #expect(plan.repetitions == 2)
    #expect(plan.cells.map { $0.run.env["A"] } == ["2", "2"])
    #expect(plan.cells.map { $0.run.env["B"] } == [nil, "3"])
    #expect(plan.cells.map(\.run.command) == ["run", "run --flag 'two words'"])
    #expect(plan.cells.map { $0.dumps?.expect?.layers } == [[4], [4]])
    #expect(plan.cells.map { $0.run.env["ROLLCALL_WORLD_SIZE"] } == ["1", "16"])
  }

  @Test func overlaysAreMergedIntoTheShippedFile() async throws {
    try await Scratch.with { scratch in
      try scratch.write(
        "engine.yaml", "model: llama\ntransforms:\n  fuse: {enabled: true, stage: '1'}\n  keep: [1, 2]\n")
      let text =
        head.replacing("run: {command: run", with: "run: {files: [engine.yaml], command: run") + """
          playbook:
            components:
              fuse: {off: {overlay: {engine.yaml: {transforms: {fuse: {enabled: false}}}, new.yaml: {a: "007"}}}}
          """
      let plan = try Planner.plan(text: text, path: scratch.path("job.yaml"))
      let off = try #require(plan.playbook?.components["fuse"]?.off)
      let changed = try Planner.plan(
        text: text, path: scratch.path("job.yaml"),
        change: JobChange(cells: plan.cells.map(\.values), target: [off]))
      #expect(changed.cells[0].run.written == nil, "the reference keeps the file as it is")
      let written = try #require(changed.cells[1].run.written)
      let merged = try NestedYAML.scalars(try #require(written["engine.yaml"]))
      #expect(
        merged == [
          "model": "llama", "transforms.fuse.enabled": "false", "transforms.fuse.stage": "1",
          "transforms.keep": "1 2",
        ])
      // Text stays text: a quoted number keeps its quotes.
      #expect(written["new.yaml"] == "a: \"007\"\n")
    }
  }
}
