/// What one value may look like: the reader and the JSON Schema of it in one place, so that they cannot diverge.
struct Shape<Value> {
  /// In words: `a whole number of at least 0`.
  var expects: String
  var schema: (SchemaContext) -> JSONText
  var read: (YAMLValue, inout Reading) -> Value?

  /// Adds a check and a change of type; `change` reports what it refuses.
  func map<Other>(_ change: @escaping (Value, Place, inout Reading) -> Other?) -> Shape<Other> {
    Shape<Other>(expects: expects, schema: schema) { value, reading in
      read(value, &reading).flatMap { change($0, value.place, &reading) }
    }
  }
}

struct SchemaContext {
  /// Values may be `${{ name }}`.
  var templates = false
  var isPartial = false
}

/// One key of an object.
struct Key<Value> {
  var name: String
  var doc: String
  var isRequired: Bool
  var shape: Shape<Value>

  init(_ name: String, _ shape: Shape<Value>, required: Bool = false, _ doc: String) {
    self.name = name
    self.shape = shape
    self.isRequired = required
    self.doc = doc
  }

  var erased: AnyKey {
    AnyKey(name: name, doc: doc, isRequired: isRequired, schema: shape.schema) { value, reading in
      _ = shape.read(value, &reading)
    }
  }
}

struct AnyKey {
  var name: String
  var doc: String
  var isRequired: Bool
  var schema: (SchemaContext) -> JSONText
  var check: (YAMLValue, inout Reading) -> Void
}

/// The keys of one kind of object.
protocol KeyTable {
  /// `run`, for messages.
  var title: String { get }
  var keys: [AnyKey] { get }
}

/// The entries of one object, read key by key.
struct Fields {
  var value: YAMLValue

  func callAsFunction<Value>(_ key: Key<Value>, _ reading: inout Reading) -> Value? {
    guard let value = value[key.name] else { return nil }
    return reading.within(key.name) { key.shape.read(value, &$0) }
  }

  func has<Value>(_ key: Key<Value>) -> Bool { value[key.name] != nil }

  func place<Value>(_ key: Key<Value>) -> Place { value[key.name]?.place ?? value.place }
}

extension Shape {
  /// A mapping with the keys of `table`. Unknown and missing keys are reported here; `build` reads the rest, and
  /// returns nil where it cannot do without what is missing.
  static func object<Table: KeyTable>(
    _ table: Table, build: @escaping (Fields, Table, inout Reading) -> Value?
  ) -> Shape {
    let keys = table.keys
    return Shape(
      expects: "a mapping",
      schema: { context in
        var members: [(key: String, value: JSONText)] = [("type", .string("object"))]
        members.append(
          (
            "properties",
            .object(
              keys.map { key in
                var schema = key.schema(context)
                if case .object(let inner) = schema {
                  schema = .object([("description", .string(key.doc))] + inner.filter { $0.key != "description" })
                }
                return (key.name, schema)
              })
          ))
        let required = keys.filter { $0.isRequired && !context.isPartial }
        if !required.isEmpty { members.append(("required", .array(required.map { .string($0.name) }))) }
        members.append(("additionalProperties", .bool(false)))
        return .object(members)
      },
      read: { value, reading in
        guard case .map(let entries) = value.content else {
          reading.report(value.place, "`\(table.title)` must be a mapping, not \(value.described)")
          return nil
        }
        // A key that is there, misspelt, is not missed a second time.
        var misspelt: Set<String> = []
        for entry in entries where !keys.contains(where: { $0.name == entry.key }) {
          let nearest = Spelling.nearest(to: entry.key, in: keys.map(\.name))
          if let nearest { misspelt.insert(nearest) }
          reading.report(entry.keyPlace, "unknown key `\(entry.key)` in `\(table.title)`", suggestion: nearest)
        }
        for key in keys
        where key.isRequired && !reading.isPartial && value[key.name] == nil && !misspelt.contains(key.name) {
          reading.report(value.place, "`\(table.title)` needs the key `\(key.name)`")
        }
        if reading.templates == .skipped {
          for key in keys {
            guard let inner = value[key.name] else { continue }
            reading.within(key.name) { key.check(inner, &$0) }
          }
          return nil
        }
        return build(Fields(value: value), table, &reading)
      })
  }

  /// A list, or one value that stands for a list of one where `orOne`.
  static func list<Element>(
    of element: Shape<Element>, orOne: Bool = false, minimum: Int = 0
  ) -> Shape<[Element]> where Value == [Element] {
    Shape(
      expects: "a list",
      schema: { context in
        var members: [(key: String, value: JSONText)] = [
          ("type", .string("array")), ("items", element.schema(context)),
        ]
        if minimum > 0 { members.append(("minItems", .int(minimum))) }
        let list = JSONText.object(members)
        return orOne ? .object([("anyOf", .array([list, element.schema(context)]))]) : list
      },
      read: { value, reading in
        guard case .list(let values) = value.content else {
          if orOne { return element.read(value, &reading).map { [$0] } }
          reading.report(value.place, "expected a list, found \(value.described)")
          return nil
        }
        if values.count < minimum {
          reading.report(value.place, "expected a list of at least \(minimum), found \(values.count)")
          return nil
        }
        var elements: [Element] = []
        for (index, value) in values.enumerated() {
          if let element = reading.within("[\(index)]", { element.read(value, &$0) }) { elements.append(element) }
        }
        return elements.count == values.count ? elements : nil
      })
  }

  /// A value that is read later, cell by cell: here only its form is checked, and what it returns is the value itself.
  static func templated<Inner>(
    _ inner: Shape<Inner>, partial: Bool = false
  ) -> Shape<YAMLValue> where Value == YAMLValue {
    Shape(
      expects: inner.expects,
      schema: { _ in inner.schema(SchemaContext(templates: true, isPartial: partial)) },
      read: { value, reading in
        let (templates, isPartial) = (reading.templates, reading.isPartial)
        reading.templates = .skipped
        reading.isPartial = partial
        _ = inner.read(value, &reading)
        reading.templates = templates
        reading.isPartial = isPartial
        return value
      })
  }
}
