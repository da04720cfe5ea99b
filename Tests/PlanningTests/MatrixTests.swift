import OrderedCollections
import Planning
import Testing

@Suite struct MatrixTests {
  /// The rules of GitHub Actions, one case each.
  @Test(
    arguments: [
      ("{a: [1, 2], b: [x, y]}", ["a=1 b=x", "a=1 b=y", "a=2 b=x", "a=2 b=y"]),
      // The first axis of the file is outermost, whatever its name.
      ("{b: [x, y], a: [1, 2]}", ["b=x a=1", "b=x a=2", "b=y a=1", "b=y a=2"]),
      // exclude: partial combinations match all cells that have them.
      ("{a: [1, 2], b: [x, y], exclude: [{a: 1}]}", ["a=2 b=x", "a=2 b=y"]),
      ("{a: [1, 2], b: [x, y], exclude: [{a: 1, b: x}, {b: y}]}", ["a=2 b=x"]),
      // include: merged where it changes no original value.
      ("{a: [1, 2], include: [{c: 9}]}", ["a=1 c=9", "a=2 c=9"]),
      ("{a: [1, 2], include: [{a: 1, c: 9}]}", ["a=1 c=9", "a=2"]),
      // A value that an earlier include added may change; an original one may not.
      ("{a: [1, 2], include: [{c: 9}, {a: 2, c: 8}]}", ["a=1 c=9", "a=2 c=8"]),
      ("{a: [1, 2], include: [{a: 3}]}", ["a=1", "a=2", "a=3"]),
      // A cell that include made is no original: later ones do not merge into it.
      ("{a: [1], include: [{a: 3}, {a: 3, c: 9}]}", ["a=1", "a=3", "a=3 c=9"]),
      // exclude comes first: include can bring a combination back, and does not merge into what is gone.
      ("{a: [1, 2], b: [x], exclude: [{a: 1}], include: [{a: 1, b: x}]}", ["a=2 b=x", "a=1 b=x"]),
      // No axes: each include is a cell.
      ("{include: [{a: 1}, {a: 2, b: z}]}", ["a=1", "a=2 b=z"]),
      // Keys of a new cell come in the order of the axes, added ones last.
      ("{a: [1], b: [x], include: [{c: 1, b: y, a: 2}]}", ["a=1 b=x", "a=2 b=y c=1"]),
      // The example of GitHub's documentation of matrices.
      (
        """
        {fruit: [apple, pear], animal: [cat, dog], include: [{color: green}, {color: pink, animal: cat},
          {fruit: apple, shape: circle}, {fruit: banana}, {fruit: banana, animal: cat}]}
        """,
        [
          "fruit=apple animal=cat color=pink shape=circle", "fruit=apple animal=dog color=green shape=circle",
          "fruit=pear animal=cat color=pink", "fruit=pear animal=dog color=green", "fruit=banana",
          "fruit=banana animal=cat",
        ]
      ),
    ] as [(String, [String])])
  func expands(matrix: String, cells: [String]) throws {
    #expect(try plan(matrix: matrix).cells.map(\.label) == cells)
  }

  @Test func withoutMatrixThereIsOneCell() throws {
    let plan = try Planner.plan(text: "name: t\nrun: {command: echo}\n", path: "job.yaml")
    #expect(plan.cells.map(\.label) == ["(single cell)"])
    #expect(plan.cells[0].worldSize == 1)
  }

  @Test(
    arguments: [
      (
        "{a: [1, 2], exclude: [{aa: 1}]}",
        "2:32: unknown axis `aa` [a]"
      ),
      ("{tp: [1, 2], exclude: [{tp: 4}]}", "2:37: the axis `tp` has no value 4"),
      (
        "{tp: [1, 2], exclude: [{tp: \"2\"}]}",
        "2:37: the axis `tp` has no value 2 of this type (text or not) [2]"
      ),
      ("{mode: [eager, compile], exclude: [{mode: eagre}]}", "2:51: the axis `mode` has no value eagre [eager]"),
      ("{a: [1, 2, 1]}", "2:20: the value 1 of `a` appears twice"),
      ("{a: [1], include: [{a: 3}, {a: 3}]}", "2:36: this cell is there already: a=3"),
      ("{a: [1], exclude: [{a: 1}]}", "2:10: the matrix has no cells"),
      ("{a: []}", "2:13: expected a list of at least 1, found 0"),
      ("{a: 1}", "2:13: expected a list, found the number 1"),
      ("{a: [[1]]}", "2:14: expected text, a number, true or false (an empty text is \"\"), found a list"),
      ("{a: [1, ~]}", "2:17: expected text, a number, true or false (an empty text is \"\"), found nothing"),
      ("[1]", "2:9: `matrix` must be a mapping, not a list"),
      ("{run_dir: [1]}", "2:10: an axis cannot be named `run_dir`: ${{ run_dir }} is known at launch"),
      ("{RUN: [1]}", "2:10: an axis cannot be named `RUN`: ${{ run }} is known at launch"),
      ("{a-b: [1], a_b: [1]}", "2:20: the axes `a-b` and `a_b` would both be ROLLCALL_A_B"),
      ("{\"a b\": [1]}", "2:10: `a b` cannot name an axis: letters, digits, _ and -, no digit first"),
      ("{a: [1], exclude: [{}]}", "2:28: `matrix entry` names no axis"),
      ("{a: [1], include: {a: 1}}", "2:27: expected a list, found a mapping"),
    ])
  func refuses(matrix: String, problem: String) {
    #expect(problems("name: t\nmatrix: \(matrix)\nrun: {command: echo}\n") == [problem])
  }

  @Test func boundsTheNumberOfCells() {
    let text = "name: t\nmatrix: {a: [1, 2, 3], b: [1, 2, 3]}\nrun: {command: echo}\n"
    #expect(problems(text, cellLimit: 9) == [])
    #expect(problems(text, cellLimit: 8) == ["2:10: the matrix has more than 8 cells: 3 (a) × 3 (b)"])
    // 10^20 would not fit an Int either.
    let axes = (0..<20).map { "x\($0): [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]" }.joined(separator: ", ")
    let huge = problems("name: t\nmatrix: {\(axes)}\nrun: {command: echo}\n")
    #expect(huge.count == 1)
    #expect(huge.first?.hasPrefix("2:10: the matrix has more than 10000 cells: 10 (x0)") == true)
  }

  /// Every rank is looked for: what is no number of ranks must not get as far as that.
  @Test(arguments: [
    ("0", "the number 0"), ("-1", "the number -1"), ("65537", "the number 65537"),
    ("99999999999999999999", "the number 99999999999999999999"), ("2.0", "the number 2.0"), ("a", "the text \"a\""),
    ("\"2\"", "the text \"2\""), ("true", "true"),
  ])
  func aWorldSizeIsANumberOfRanks(value: String, found: String) {
    let said = "expected a whole number from 1 to 65536, found \(found)"
    let end = "run: {command: echo}\n"
    #expect(problems("name: t\nmatrix: {world_size: [1, \(value)]}\n\(end)") == ["2:26: \(said)"])
    #expect(
      problems("name: t\nmatrix: {b: [1], include: [{b: 1, world_size: \(value)}]}\n\(end)") == ["2:47: \(said)"])
    #expect(
      problems("name: t\n\(end)playbook: {ladder: {values: [\(value)]}}\n").contains("3:30: \(said)"))
    let other = problems("name: t\n\(end)playbook: {ladder: {axis: b, values: [\(value)]}}\n")
    #expect(!other.contains { $0.contains(said) })
  }

  @Test func worldSizesOfOldPlansAreKeptInBounds() {
    let sizes = [0, -1, 2, 65_536, 100_000_000, .max].map { size in
      Cell(id: "a", values: ["world_size": .int(size)], run: RunSpec(command: "echo")).worldSize
    }
    #expect(sizes == [1, 1, 2, 65_536, 65_536, 65_536])
  }

  @Test func warnsOfAnIncludeThatLooksMisspelled() throws {
    let warnings = try plan(matrix: "{world_size: [1], include: [{wrold_size: 2}]}").warnings
    #expect(warnings.contains { $0.hasPrefix("line 2: `include` adds the new key `wrold_size`") })
  }

  @Test func warnsOfTheBooleansOfYAML11() throws {
    let plan = try plan(matrix: "{one_shot: [on, off]}")
    #expect(plan.cells.map(\.run.env) == [["ROLLCALL_ONE_SHOT": "on"], ["ROLLCALL_ONE_SHOT": "off"]])
    #expect(plan.warnings.contains { $0.hasPrefix("line 2: `on` in the axis `one_shot` is text") })
  }
}
