import OrderedCollections

/// Expands a matrix by the rules of GitHub Actions: the product in the order of definition with the first axis
/// outermost; then `exclude`, where a partial combination matches; then `include`, which is merged into every
/// original cell where it changes no original value (values that an earlier `include` added may change), and is a
/// cell of its own where there is no such cell.
enum Matrix {
  typealias Values = OrderedDictionary<String, AxisValue>

  /// nil where the matrix cannot be expanded; the reason is in `reading`.
  static func expand(_ source: MatrixSource, limit: Int, warnings: inout [String], _ reading: inout Reading)
    -> [Values]?
  {
    let before = reading.problems.count
    checkDuplicates(source, &reading)
    checkExclude(source, &reading)
    warnings += misspelledAdditions(source)
    guard reading.problems.count == before, let product = product(source, limit: limit, &reading) else { return nil }
    let originals = product.filter { cell in
      !source.exclude.contains { $0.entries.allSatisfy { cell[$0.name] == $0.value } }
    }
    var cells = originals
    for (index, addition) in source.include.enumerated() {
      var isMerged = false
      for index in originals.indices
      where addition.entries.allSatisfy({ originals[index][$0.name].map([$0.value].contains) ?? true }) {
        for entry in addition.entries { cells[index][entry.name] = entry.value }
        isMerged = true
      }
      if isMerged { continue }
      let order = source.axes.map(\.name)
      let entries = addition.entries.enumerated().sorted {
        (order.firstIndex(of: $0.element.name) ?? order.count, $0.offset)
          < (order.firstIndex(of: $1.element.name) ?? order.count, $1.offset)
      }
      let values = Values(uniqueKeysWithValues: entries.map { ($0.element.name, $0.element.value) })
      if cells.contains(where: { same($0, values) }) {
        reading.within("include") { reading in
          reading.within("[\(index)]") {
            $0.report(addition.place, "this cell is there already: \(Cell.label(values))")
          }
        }
      }
      cells.append(values)
      guard cells.count <= limit else {
        reading.report(addition.place, "the matrix has more than \(limit) cells")
        return nil
      }
    }
    if cells.isEmpty {
      reading.report(source.axes.first?.place ?? Place(line: 1, column: 1), "the matrix has no cells")
    }
    return reading.problems.count == before ? cells : nil
  }

  /// Equal whatever the order of the keys.
  static func same(_ a: Values, _ b: Values) -> Bool {
    a.count == b.count && a.allSatisfy { b[$0.key] == $0.value }
  }

  /// Reports axes and values that the cells do not have.
  static func check(
    _ entry: MatrixEntry, known: OrderedDictionary<String, [AxisValue]>, _ reading: inout Reading
  ) {
    guard let values = known[entry.name] else {
      reading.report(
        entry.namePlace, "unknown axis `\(entry.name)`", suggestion: Spelling.nearest(to: entry.name, in: known.keys))
      return
    }
    guard !values.contains(entry.value) else { return }
    let sameText = values.first { $0.description == entry.value.description }
    let text = entry.value.description.shortened
    reading.report(
      entry.place,
      sameText == nil
        ? "the axis `\(entry.name)` has no value \(text)"
        : "the axis `\(entry.name)` has no value \(text) of this type (text or not)",
      suggestion: sameText?.yamlText
        ?? (values.count == 1
          ? values[0].yamlText : Spelling.nearest(to: text, in: values.map(\.description).filter { $0.count > 2 })))
  }

  private static func product(_ source: MatrixSource, limit: Int, _ reading: inout Reading) -> [Values]? {
    guard !source.axes.isEmpty else { return [] }
    var count = 1
    for axis in source.axes {
      let (product, overflow) = count.multipliedReportingOverflow(by: axis.values.count)
      guard !overflow, product <= limit else {
        reading.report(
          source.axes[0].place,
          "the matrix has more than \(limit) cells: "
            + source.axes.map { "\($0.values.count) (\($0.name))" }.joined(separator: " × "))
        return nil
      }
      count = product
    }
    var cells: [Values] = [[:]]
    for axis in source.axes {
      cells = cells.flatMap { cell in
        axis.values.map { value in
          var next = cell
          next[axis.name] = value.value
          return next
        }
      }
    }
    return cells
  }

  private static func checkDuplicates(_ source: MatrixSource, _ reading: inout Reading) {
    for axis in source.axes {
      var seen: Set<AxisValue> = []
      for (value, place) in axis.values where !seen.insert(value).inserted {
        reading.within(axis.name) {
          $0.report(place, "the value \(value.description.shortened) of `\(axis.name)` appears twice")
        }
      }
    }
  }

  private static func checkExclude(_ source: MatrixSource, _ reading: inout Reading) {
    let known = OrderedDictionary(
      source.axes.map { ($0.name, $0.values.map(\.value)) }, uniquingKeysWith: { first, _ in first })
    for (index, combination) in source.exclude.enumerated() {
      for entry in combination.entries {
        reading.within("exclude") { reading in
          reading.within("[\(index)]") { reading in
            reading.within(entry.name) { check(entry, known: known, &$0) }
          }
        }
      }
    }
  }

  private static func misspelledAdditions(_ source: MatrixSource) -> [String] {
    let axes = source.axes.map(\.name)
    return source.include.flatMap { combination in
      combination.entries.compactMap { entry in
        guard !axes.contains(entry.name), let near = Spelling.nearest(to: entry.name, in: axes) else { return nil }
        let place = "line \(entry.namePlace.line)"
        return "\(place): `include` adds the new key `\(entry.name)`; if the axis `\(near)` is meant, mend the spelling"
      }
    }
  }
}

extension AxisValue {
  /// As a job file must write it to give this value.
  var yamlText: String {
    guard case .string(let text) = self else { return description }
    if case .string = YAMLScalar(text: text, isPlain: true).meaning, !text.isEmpty { return text }
    return "\"\(text)\""
  }
}
