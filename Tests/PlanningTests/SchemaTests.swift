import Foundation
import Planning
import TestSupport
import Testing

/// The JSON Schema says what the decoder does. Needs python3 with jsonschema and PyYAML.
@Suite struct SchemaTests {
  /// Prints a line for each document: `ok`, or the first complaint.
  static let checker = """
    import json, sys, yaml
    from jsonschema import Draft202012Validator
    class Loader(yaml.SafeLoader): pass
    Loader.yaml_implicit_resolvers = {
      k: [(t, r) for t, r in v if t not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")]
      for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", __import__("re").compile("^(true|false)$"), list("tf"))
    schema = json.load(open(sys.argv[1]))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for path in sys.argv[2:]:
      errors = sorted(validator.iter_errors(yaml.load(open(path), Loader)), key=str)
      print(errors[0].message.replace("\\n", " ") if errors else "ok")
    """

  static func check(_ texts: [String]) async throws -> [String] {
    let scratch = try Scratch()
    defer { scratch.remove() }
    let schema = try scratch.write("schema.json", JobFileSchema.json())
    let files = try texts.enumerated().map { try scratch.write("\($0.offset).yaml", $0.element) }
    let result = try await runPython(checker, [schema] + files)
    return result.output.split(separator: "\n").map(String.init)
  }

  static let full = """
    name: everything
    matrix:
      world_size: [1, 2]
      one_shot: [false, true]
      exclude: [{world_size: 2, one_shot: true}]
      include: [{world_size: 1, extra: x}]
    repeat: 2
    run:
      command: run ${{ world_size }}
      env: {A: "${{ dump_dir }}", B: 1, C: true}
      files: []
      gpus: ${{ world_size }}
      nodes: 1
      hosts: {gpu: h200}
      timeout: 30m
      stall_timeout: 600
      retries: 1
    dumps:
      layout: custom
      pattern: "(?<rank>[0-9]+)"
      slots: 4
      select: 3
      expect: {layers: [0-3, 7], stages: [Block]}
    overrides:
      - when: {one_shot: true}
        run: {timeout: 1h}
        dumps: {select: warm-up}
    compare:
      mode: reference
      reference: {world_size: 1}
      noise: {cos: 0.99, rel: 0.1}
      shard: {Attention: {heads: {q: 8}}, MLP: {axis: -1}, qkv: {blocks: [1, 2]}, x: "t h[tp]", y: {dims: "t h[tp]"}}
      same_hardware: true
    logs: {forbid: [x], require: [y]}
    schedule: {cron: "30 2 * * *", timezone: UTC, missed: run-all, overlap: cancel-old, jitter: 5m, window: 4h, report_by: "07:00"}
    notify:
      - {webhook: https://example.org, on: change}
      - {email: a@example.org}
      - {command: cat, on: always}

    """

  @Test func goodFilesAreGoodForBoth() async throws {
    let files = [
      Self.full, PlannerTests.sweep, "name: t\nrun: {command: a}\n",
      "name: t\nrun: {command: a}\ndumps: {layout: npy, slots: 2}\ncompare: {mode: slots, noise: strict, shard: auto}\n",
      "name: t\nrun: {command: a}\ndumps: {layout: npy}\ncompare: {reference: golden, shard: {axis: 0}}\n",
    ]
    let answers = try await Self.check(files)
    #expect(answers == files.map { _ in "ok" })
    for file in files where file != PlannerTests.sweep { #expect(problems(file) == []) }
  }

  /// Each of these is wrong for the decoder; the schema must not call it right.
  @Test func badFilesAreBadForBoth() async throws {
    let files = [
      "run: {command: a}\n", "name: t\n", "name: t\nrun: {}\n", "name: t\nrun: {command: a}\nx: 1\n",
      "name: t\nrun: {command: a, gpu: 1}\n", "name: t\nrun: {command: a, gpus: -1}\n",
      "name: t\nrun: {command: a, gpus: x}\n", "name: t\nrun: {command: a, timeout: soon}\n",
      "name: t\nrun: {command: a, env: {1A: x}}\n", "name: t\nrun: {command: a, env: {A: [1]}}\n",
      "name: t\nmatrix: {a: 1}\nrun: {command: a}\n", "name: t\nmatrix: {a: []}\nrun: {command: a}\n",
      "name: t\nmatrix: {world_size: [0]}\nrun: {command: a}\n",
      "name: t\nmatrix: {world_size: [x]}\nrun: {command: a}\n",
      "name: t\nrepeat: 0\nrun: {command: a}\n", "name: t\nrun: {command: a}\ndumps: {layout: x}\n",
      "name: t\nrun: {command: a}\ndumps: {slots: 1}\n",
      "name: t\nrun: {command: a}\ndumps: {layout: npy, select: x}\n",
      "name: t\nrun: {command: a}\ndumps: {layout: npy, expect: {layers: 3-}}\n",
      "name: t\nmatrix: {a: [1]}\nrun: {command: a}\noverrides: [{run: {gpus: 1}}]\n",
      "name: t\nrun: {command: a}\ndumps: {layout: npy}\ncompare: {reference: golden, noise: loud}\n",
      "name: t\nrun: {command: a}\ndumps: {layout: npy}\ncompare: {reference: goldn}\n",
      "name: t\nrun: {command: a}\nschedule: {cron: \"* * * * *\"}\n",
      "name: t\nrun: {command: a}\nnotify: [{webhook: https://x.y, on: never}]\n", "name: [t]\nrun: {command: a}\n",
    ]
    for (file, answer) in zip(files, try await Self.check(files)) {
      #expect(answer != "ok", "\(file)")
      #expect(!problems(file).isEmpty, "\(file)")
    }
  }

  /// Every key of the schema, put where it belongs with a value of no type, is known to the decoder; and every key
  /// of the full job file stands in the schema.
  @Test func keysOfSchemaAndDecoderAreTheSame() async throws {
    let data = Data(JobFileSchema.json().utf8)
    let schema = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    var found = 0
    for path in keyPaths(schema) {
      found += 1
      // Wrong values everywhere: there are complaints, but never of the key.
      var text = "name: t\n"
      for (depth, key) in path.enumerated() {
        text += String(repeating: "  ", count: depth) + key + ":" + (depth == path.count - 1 ? " [[]]\n" : "\n")
      }
      if path[0] == "name" { text = "name: [[]]\n" }
      #expect(!problems(text).contains { $0.contains("unknown key") }, "\(path)")
    }
    #expect(found > 40)
    let answers = try await Self.check([Self.full])
    #expect(answers == ["ok"])
  }

  /// Paths of fixed keys through objects, not through lists.
  private func keyPaths(_ schema: [String: Any]) -> [[String]] {
    guard let properties = schema["properties"] as? [String: Any] else { return [] }
    return properties.sorted { $0.key < $1.key }.flatMap { name, value -> [[String]] in
      let inner = value as? [String: Any] ?? [:]
      var schemas = [inner]
      if let choices = inner["anyOf"] as? [[String: Any]] { schemas += choices }
      return [[name]] + schemas.flatMap(keyPaths).map { [name] + $0 }
    }
  }
}
