import Foundation
import OrderedCollections
import Planning
import TestSupport
import Testing

/// What the sections of a good job file turn into.
@Suite struct SectionTests {
  static func plan(_ rest: String, command: String = "a") throws -> Plan {
    try Planner.plan(text: "name: t\nrun: {command: \(command)}\n" + rest, path: "job.yaml")
  }

  @Test(
    arguments: [
      ("30m", 1_800), ("10s", 10), ("1h30m", 5_400), ("2d", 172_800), ("45", 45), ("1.5h", 5_400), ("0.5", 0.5),
      ("1d2h3m4s", 93_784),
    ] as [(String, Double)])
  func durations(text: String, seconds: Double) throws {
    let plan = try Planner.plan(
      text: "name: t\nrun: {command: a, timeout: \(text), stall_timeout: \(text)}\n", path: "j")
    #expect(plan.cells[0].run.timeout == seconds)
    #expect(plan.cells[0].run.stallTimeout == seconds)
  }

  @Test(
    arguments: [
      ("0-3", [0, 1, 2, 3]), ("0,3", [0, 3]), ("[0, 3]", [0, 3]), ("[0-2, 7]", [0, 1, 2, 7]), ("5", [5]),
      ("\"0-1, 4 - 5\"", [0, 1, 4, 5]), ("[3, 1, 3]", [1, 3]), ("[]", []),
    ] as [(String, [Int])])
  func layers(text: String, layers: [Int]) throws {
    let plan = try Self.plan("dumps:\n  layout: npy\n  expect:\n    layers: \(text)\n    stages: Block\n")
    #expect(plan.cells[0].dumps?.expect == DumpsSpec.Expect(layers: layers, stages: ["Block"]))
  }

  @Test func ranksThatLeaveFiles() throws {
    func plan(_ ranks: String) throws -> Plan {
      try Planner.plan(
        text: """
          name: t
          matrix: {world_size: [1, 8]}
          run: {command: a}
          dumps: {layout: npy, expect: {ranks: \(ranks)}}
          compare: {reference: {world_size: 1}}
          """, path: "j")
    }
    let one = try plan("1")
    #expect(one.cells.map(\.dumpingRanks) == [1, 1])
    #expect(one.warnings.count == 1 && one.warnings[0].contains("of 8 ranks the first 1 leave dumps"))
    #expect(try plan("8").cells.map(\.dumpingRanks) == [1, 8])
    #expect(try plan("8").warnings == [])
    #expect(throws: (any Error).self) { try plan("0") }
  }

  @Test func defaults() throws {
    let plan = try Self.plan("dumps: {layout: safetensors}\n")
    #expect(plan.cells[0].run == RunSpec(command: "a"))
    #expect(plan.cells[0].run.timeout == 3_600)
    #expect(plan.cells[0].run.retries == 1)
    #expect(plan.cells[0].dumps == DumpsSpec(layout: "safetensors", select: .prefill))
    #expect(plan.repetitions == 1)
    #expect(plan.compare == CompareSpec())
    #expect(plan.warnings == ["there is no `compare`: dumps are gathered and nothing is judged"])
  }

  @Test func valuesKeepTheirTypes() throws {
    let plan = try Planner.plan(
      text: """
        name: t
        matrix: {n: [2], how: [decode], call: [7], on: [true]}
        run:
          command: run ${{ on }}
          gpus: ${{ n }}
          nodes: ${{n}}
          timeout: ${{ n }}m
          hosts: {gpu: "h${{ n }}", fast: "${{ on }}"}
          env: {ON: "${{ on }}", LITERAL: true, TEXT: "true", X: "a${{ on }}b"}
        dumps: {layout: npy, select: "${{ call }}", slots: "${{ n }}", expect: {layers: "0-${{ n }}"}}
        overrides: [{when: {n: 2}, dumps: {select: "${{ how }}"}}]
        """, path: "j")
    let run = plan.cells[0].run
    #expect(run.command == "run true")
    #expect(run.gpus == 2 && run.nodes == 2 && run.timeout == 120)
    #expect(run.hosts == ["gpu": "h2", "fast": "true"])
    #expect(run.env["ON"] == "1" && run.env["LITERAL"] == "1" && run.env["TEXT"] == "true" && run.env["X"] == "a1b")
    #expect(plan.cells[0].dumps?.select == .decode)
    #expect(plan.cells[0].dumps?.slots == 2)
    #expect(plan.cells[0].dumps?.expect?.layers == [0, 1, 2])
  }

  @Test func overridesAreMergedInOrder() throws {
    let plan = try Planner.plan(
      text: """
        name: t
        matrix: {a: [1, 2], b: [x, y]}
        run: {command: one, env: {K: base, L: base}, hosts: {gpu: h200}}
        overrides:
          - when: {a: 2}
            run: {command: two, env: {K: second}, gpus: 4}
          - when: {a: 2, b: y}
            run: {env: {K: third, M: new}, timeout: 1m}
            dumps: {layout: npy}
        """, path: "j")
    #expect(plan.cells.map(\.run.command) == ["one", "one", "two", "two"])
    #expect(plan.cells.map(\.run.gpus) == [0, 0, 4, 4])
    #expect(plan.cells.map { $0.run.env["K"] } == ["base", "base", "second", "third"])
    #expect(plan.cells.map { $0.run.env["L"] } == ["base", "base", "base", "base"])
    #expect(plan.cells.map { $0.run.env["M"] } == [nil, nil, nil, "new"])
    #expect(plan.cells.map(\.run.hosts) == Array(repeating: ["gpu": "h200"], count: 4))
    #expect(plan.cells.map { $0.dumps?.layout } == [nil, nil, nil, "npy"])
  }

  @Test(
    arguments: [
      ("when: {c: 1}, run: {gpus: 1}", "4:21: unknown axis `c` [a]"),
      ("when: {a: 3}, run: {gpus: 1}", "4:24: the axis `a` has no value 3"),
      ("when: {a: 1}", "4:13: an override needs `run`, `dumps` or both"),
      ("run: {gpus: 1}", "4:13: `overrides` needs the key `when`"),
      ("when: {}, run: {gpus: 1}", "4:20: `when` names no axis"),
      ("when: {a: 1}, run: {gpu: 1}", "4:34: unknown key `gpu` in `run` [gpus]"),
      ("when: {a: 1}, run: {gpus: many}", "4:40: expected a whole number from 0 to 4096, found the text \"many\""),
      (
        "when: {a: 1}, run: {env: {X: \"${{ b }}\"}}",
        "4:44: unknown name `b` in ${{ }}: known are a, dump_dir, run_dir, run, sweep, attempt, host, repeat [a]"
      ),
      ("when: {a: 1}, dumps: {slots: 2}", "4:35: `dumps` needs the key `layout`"),
    ])
  func badOverridesAreRefused(entry: String, problem: String) {
    #expect(problems("name: t\nmatrix: {a: [1, 2]}\nrun: {command: x}\noverrides: [{\(entry)}]\n") == [problem])
  }

  @Test(
    arguments: [
      ("reference: golden", .golden), ("reference: {last_pass: nightly}", .lastPass(job: "nightly")),
      ("reference: /", .path("/")), ("reference: {a: 1}", .cell(["a": .int(1)])),
      ("reference: {b: x, a: 2}", .cell(["b": .string("x"), "a": .int(2)])),
    ] as [(String, CompareSpec.Reference)])
  func references(text: String, reference: CompareSpec.Reference) throws {
    let plan = try Self.plan("dumps: {layout: npy}\nmatrix: {a: [1, 2], b: [x]}\ncompare: {\(text)}\n")
    #expect(plan.compare == CompareSpec(reference: reference))
  }

  @Test(
    arguments: [
      ("strict", .strict), ("atom", .atom), ("triage", .triage), ("measured", .measured),
      ("{cos: 0.999}", .thresholds(cos: 0.999, rel: nil)), ("{cos: 1, rel: 1e-3}", .thresholds(cos: 1, rel: 0.001)),
    ] as [(String, CompareSpec.Noise)])
  func noises(text: String, noise: CompareSpec.Noise) throws {
    let plan = try Self.plan("dumps: {layout: npy}\ncompare: {reference: golden, noise: \(text)}\n")
    #expect(plan.compare.noise == noise)
  }

  @Test(
    arguments: [
      ("auto", .auto, [:]), ("partial", .partial, [:]), ("replicated", .replicated, [:]),
      ("{axis: -1}", .concat(axis: -1), [:]), ("{blocks: [4, 2, 2]}", .blocks([4, 2, 2]), [:]),
      ("\"t h[tp]\"", .dims("t h[tp]"), [:]), ("{dims: \"t h[tp]\"}", .dims("t h[tp]"), [:]),
      ("{heads: {axis: 1, q: 8, kv: 2}}", .heads(["axis": .int(1), "q": .int(8), "kv": .int(2)]), [:]),
      (
        "{\"qkv.*\": {blocks: [4, 2]}, MoE: partial, \".*\": auto}", .auto,
        ["qkv.*": .blocks([4, 2]), "MoE": .partial, ".*": .auto]
      ),
    ] as [(String, CompareSpec.ShardRule, OrderedDictionary<String, CompareSpec.ShardRule>)])
  func shards(
    text: String, rule: CompareSpec.ShardRule, byStage: OrderedDictionary<String, CompareSpec.ShardRule>
  ) throws {
    let plan = try Self.plan("dumps: {layout: npy}\ncompare: {reference: golden, shard: \(text)}\n")
    #expect(plan.compare.shard == rule)
    #expect(plan.compare.shardByStage == byStage)
    #expect(plan.compare.shardByStage.keys == byStage.keys)
  }

  @Test(
    arguments: [
      ("{noise: strict}", "5:10: `compare` needs the key `reference` (or `mode: slots`)"),
      ("{reference: {a: 9}}", "5:26: the axis `a` has no value 9"),
      ("{reference: {aa: 1}}", "5:23: unknown axis `aa` [a]"),
      ("{reference: {}}", "5:22: `reference` names no axis value"),
      (
        "{reference: goldn}",
        "5:22: expected axis values, golden, or a path with a / (./goldn), found \"goldn\" [golden]"
      ),
      ("{reference: ./no-such-place-here}", "5:22: the reference ./no-such-place-here does not exist"),
      (
        "{reference: golden, noise: stict}",
        "5:37: expected one of measured, strict, atom, triage, found \"stict\" [strict]"
      ),
      ("{reference: golden, noise: {cosine: 1}}", "5:38: unknown key `cosine` in `noise`"),
      ("{reference: golden, noise: {cos: 2}}", "5:43: expected a number from -1.0 to 1.0, found the number 2"),
      (
        "{reference: golden, shard: {axis: 1, blocks: [2]}}",
        "5:37: a shard rule has exactly one of the keys axis, blocks, heads, dims"
      ),
      ("{mode: slots, reference: golden}", "5:35: `mode: slots` compares within a run; remove `reference`"),
      ("{mode: slots}", "5:10: `mode: slots` needs `dumps.slots` of 2 or more (cell a=1)"),
      ("{mode: slot}", "5:17: expected one of reference, slots, found \"slot\" [slots]"),
    ])
  func badComparesAreRefused(text: String, problem: String) {
    let found = problems("name: t\nmatrix: {a: [1, 2]}\nrun: {command: x}\ndumps: {layout: npy}\ncompare: \(text)\n")
    #expect(found.contains(problem), "\(found)")
  }

  @Test func whatIsReadForTheVerdictIsLookedForFirst() throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.write("dumps/file", "")
    let job = "name: t\nrun: {command: x}\ndumps: {layout: npy}\n"
    func said(_ compare: String) throws -> [String] {
      let path = try scratch.write("job.yaml", job + "compare: \(compare)\n")
      do {
        _ = try Planner.plan(jobFile: path)
        return []
      } catch { return error.problems.map { "\($0.line):\($0.column): \($0.message)" } }
    }
    #expect(try said("{reference: ./dumps, known_good: dumps/file}") == [])
    #expect(try said("{reference: \(scratch.path)/dumps, known_good: [\(scratch.path)/dumps/file]}") == [])
    #expect(try said("{reference: ./dumps/file}") == ["4:22: the reference ./dumps/file is not a directory"])
    #expect(
      try said("{reference: ./dumps, known_good: [dumps/file, nope.json, dumps]}") == [
        "4:56: the report nope.json does not exist", "4:67: dumps is a directory; name a report's file",
      ])
    #expect(
      try said("{reference: golden, known_good: nope.json}") == ["4:42: the report nope.json does not exist"])
  }

  @Test func slotsModeNeedsNoReference() throws {
    let plan = try Self.plan("dumps: {layout: npy, slots: 4}\ncompare: {mode: slots, same_hardware: false}\n")
    #expect(plan.compare == CompareSpec(mode: .slots, sameHardware: false))
    #expect(plan.referenceCell(for: plan.cells[0]) == nil)
    #expect(plan.warnings == [])
  }

  @Test func cellsWithoutReferenceAreNamed() throws {
    let plan = try Self.plan(
      """
      matrix: {tp: [1, 2], b: [x, y], exclude: [{tp: 1, b: y}]}
      repeat: 2
      dumps: {layout: npy}
      compare: {reference: {tp: 1}}
      """)
    #expect(plan.cells.map { plan.referenceCell(for: $0)?.label } == ["tp=1 b=x", "tp=1 b=x", nil])
    #expect(plan.warnings == ["the cell tp=2 b=y has no reference cell: it is not compared"])
  }

  @Test func addedKeysDoNotHideTheReference() throws {
    let plan = try Self.plan(
      """
      matrix: {tp: [1, 8], include: [{tp: 8, port: 1}]}
      repeat: 2
      dumps: {layout: npy}
      compare: {reference: {tp: 1}}
      """)
    #expect(plan.cells.map { plan.referenceCell(for: $0)?.label } == ["tp=1", "tp=1"])
    #expect(plan.warnings == [])
  }

  @Test func nothingComparedIsSaid() throws {
    let plan = try Self.plan("matrix: {tp: [1]}\nrepeat: 2\ndumps: {layout: npy}\ncompare: {reference: {tp: 1}}\n")
    #expect(plan.warnings == ["every cell is its own reference: nothing is compared"])
  }

  @Test(
    arguments: [
      ("0", "prefill", false), ("false", "prefill", false), ("1", "prefill", true), ("true", "decode", true),
      ("1", "warm-up", false), ("1", "3", true),
    ])
  func oneShotDumpsHoldNoPrefill(value: String, select: String, warns: Bool) throws {
    let plan = try Planner.plan(
      text: """
        name: t
        run: {command: a, env: {ATOM_FWD_DUMP_ONE_SHOT: \(value)}}
        dumps: {layout: atom, select: \(select)}
        compare: {reference: golden, noise: strict}
        """, path: "j")
    #expect(plan.warnings.contains { $0.contains("ATOM_FWD_DUMP_ONE_SHOT is one-shot") } == warns, "\(plan.warnings)")
  }

  @Test func oneShotIsATOMsDefault() throws {
    let plan = try Self.plan("dumps: {layout: atom}\ncompare: {reference: golden, noise: strict}\n")
    #expect(plan.warnings.count == 1)
    #expect(plan.warnings.first?.contains("ATOM_FWD_DUMP_ONE_SHOT is not set, and ATOM's default is one-shot") == true)
  }

  @Test func lineEndsOfWindowsAreRead() throws {
    let plan = try Planner.plan(
      text: "name: t\r\nmatrix: {a: [1, 2]}\r\nrun:\r\n  command: |\r\n    echo ${{ a }}\r\n    b\r\n", path: "j")
    #expect(plan.cells.map(\.run.command) == ["echo 1\nb\n", "echo 2\nb\n"])
    #expect(problems("name: t\r\nrun:\r\n  command: ${{ x }}\r\n").first?.hasPrefix("3:12: unknown name `x`") == true)
  }

  @Test func thousandsOfCellsArePlanned() throws {
    let values = (0..<50).map(String.init).joined(separator: ", ")
    let plan = try Self.plan(
      "matrix: {a: [\(values)], b: [\(values)]}\ndumps: {layout: npy}\ncompare: {reference: {a: 0}}\n",
      command: "\"run ${{ a }} ${{ b }}\"")
    #expect(plan.cells.count == 2_500)
    #expect(plan.cells.last?.run.command == "run 49 49")
    #expect(Set(plan.cells.map(\.id)).count == 2_500)
    #expect(plan.cells.last.flatMap(plan.referenceCell)?.label == "a=0 b=49")
  }
}
