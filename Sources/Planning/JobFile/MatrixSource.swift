import OrderedCollections

/// One `axis: value` of the matrix, an `exclude`, an `include` or a `when`.
struct MatrixEntry {
  var name: String
  var namePlace: Place
  var value: AxisValue
  var place: Place
}

/// `matrix` as written.
struct MatrixSource {
  struct Axis {
    var name: String
    var place: Place
    var values: [(value: AxisValue, place: Place)]
  }

  struct Combination {
    var place: Place
    var entries: [MatrixEntry]
  }

  var axes: [Axis] = []
  var exclude: [Combination] = []
  var include: [Combination] = []

  /// A mapping of axes; the schema and the reader share the shapes of the values.
  static var shape: Shape<MatrixSource> {
    let axis = Shape<[AxisValue]>.list(of: .variable, minimum: 1)
    let worldSizes = Shape<[AxisValue]>.list(of: .worldSize, minimum: 1)
    let combinations = Shape<[[MatrixEntry]]>.list(of: .axisValues(title: "matrix entry"))
    return Shape(
      expects: "a mapping of axes",
      schema: { context in
        .object([
          ("type", .string("object")),
          (
            "properties",
            .object([
              (
                WorldSizeAxis.name,
                describe(worldSizes.schema(context), "Ranks: as many are looked for in the dumps of a cell.")
              ),
              ("exclude", describe(combinations.schema(context), "Combinations to leave out; partial ones match all.")),
              (
                "include",
                describe(
                  combinations.schema(context),
                  "Merged into every cell whose axis values they do not change; else a cell of their own.")
              ),
            ])
          ),
          ("propertyNames", .object([("pattern", .string("^[A-Za-z_][A-Za-z0-9_-]*$"))])),
          ("additionalProperties", axis.schema(context)),
        ])
      },
      read: { value, reading in
        guard case .map(let entries) = value.content else {
          reading.report(value.place, "`matrix` must be a mapping, not \(value.described)")
          return nil
        }
        var source = MatrixSource()
        var isWhole = true
        var names: [String: String] = [:]
        for entry in entries {
          reading.within(entry.key) { reading in
            switch entry.key {
            case "exclude", "include":
              guard let read = combinations.read(entry.value, &reading), case .list(let items) = entry.value.content
              else {
                isWhole = false
                return
              }
              if entry.key == "include" {
                for (index, item) in items.enumerated() {
                  guard let size = item[WorldSizeAxis.name] else { continue }
                  reading.within("[\(index)]") { reading in
                    reading.within(WorldSizeAxis.name) { reading in
                      if Shape<AxisValue>.worldSize.read(size, &reading) == nil { isWhole = false }
                    }
                  }
                }
              }
              let list = zip(items, read).map { Combination(place: $0.place, entries: $1) }
              if entry.key == "exclude" { source.exclude = list } else { source.include = list }
            default:
              checkName(entry.key, entry.keyPlace, &names, &reading)
              let shape = entry.key == WorldSizeAxis.name ? worldSizes : axis
              guard let values = shape.read(entry.value, &reading), case .list(let items) = entry.value.content else {
                isWhole = false
                return
              }
              source.axes.append(
                Axis(
                  name: entry.key, place: entry.keyPlace, values: zip(values, items).map { ($0, $1.place) }))
            }
          }
        }
        for combination in source.include {
          for entry in combination.entries {
            reading.within("include") { $0.checkSize(of: entry.value.environmentText, "the value", entry.place) }
          }
          for entry in combination.entries where !source.axes.contains(where: { $0.name == entry.name }) {
            reading.within("include") {
              var added = names
              checkName(entry.name, entry.namePlace, &added, &$0)
            }
          }
        }
        return isWhole ? source : nil
      })
  }

  private static func describe(_ schema: JSONText, _ text: String) -> JSONText {
    guard case .object(let members) = schema else { return schema }
    return .object([("description", .string(text))] + members)
  }

  /// `names` holds the environment names that are taken, each with its axis.
  private static func checkName(
    _ name: String, _ place: Place, _ names: inout [String: String], _ reading: inout Reading
  ) {
    guard EnvironmentName.isValid(String(name.map { $0 == "-" ? "_" : $0 })), !name.hasPrefix("-") else {
      reading.report(place, "`\(name.shortened)` cannot name an axis: letters, digits, _ and -, no digit first")
      return
    }
    let variable = EnvironmentName.of(axis: name)
    if let runtime = RuntimeName.allCases.first(where: { EnvironmentName.of(axis: $0.rawValue) == variable }) {
      reading.report(place, "an axis cannot be named `\(name)`: ${{ \(runtime.rawValue) }} is known at launch")
    } else if let other = names[variable], other != name {
      reading.report(place, "the axes `\(other)` and `\(name)` would both be \(variable)")
    }
    names[variable] = name
  }
}

extension Shape where Value == [MatrixEntry] {
  /// A mapping of axes to one value each, not empty.
  static func axisValues(title: String) -> Shape {
    let values = Shape<OrderedDictionary<String, AxisValue>>.dictionary(of: .axisValue)
    return Shape(
      expects: "axis values",
      schema: { context in
        guard case .object(let members) = values.schema(context) else { return values.schema(context) }
        return .object(members + [("minProperties", .int(1))])
      },
      read: { value, reading in
        guard let read = values.read(value, &reading), case .map(let entries) = value.content else { return nil }
        guard !entries.isEmpty else {
          reading.report(value.place, "`\(title)` names no axis")
          return nil
        }
        return zip(entries, read.values).map {
          MatrixEntry(name: $0.key, namePlace: $0.keyPlace, value: $1, place: $0.value.place)
        }
      })
  }
}
