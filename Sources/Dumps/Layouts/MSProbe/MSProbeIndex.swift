/// What a `dump.json` or `debug.json` of msprobe says of the values of one rank and step.
struct MSProbeIndex {
  /// A tensor, or what is known of it.
  struct Leaf {
    var operation: MSProbeOperation
    var tensor: String
    var dtype: String
    var shape: [Int]
    var maximum: Double?
    var minimum: Double?
    var mean: Double?
    var norm: Double?
    var checksum: String?
    /// The file with the elements; nil where only statistics were taken.
    var dataName: String?
  }

  struct Plain {
    var operation: MSProbeOperation
    var name: String
    var value: Scalar
  }

  /// `tensor`, `statistics`, …: what the dump was asked for; empty where the file does not say.
  private(set) var task = ""
  private(set) var leaves: [Leaf] = []
  private(set) var plain: [Plain] = []
  /// Keys that are no operation's name, and values that contradict themselves.
  private(set) var problems: [String] = []
  /// Why the rest of the file could not be read; what stands before that place is here.
  private(set) var damage: String?

  /// 100,000 tensors take some 40 MB.
  private static let byteLimit = 128 << 20
  /// Members of one operation, and nested containers in it.
  private static let dimensionLimit = 64

  /// - Throws: where the file cannot be opened, or is too large.
  init(path: String) throws(DumpError) {
    let file = try FileHandle(path: path)
    guard file.size <= Self.byteLimit else {
      throw DumpError(
        code: .limit, file: path,
        message: "\(file.size) bytes of JSON are more than the \(Self.byteLimit) that are read")
    }
    var reader = JSONReader(try file.bytes(at: 0, count: file.size), file: path)
    do throws(DumpError) {
      try reader.object { (reader, key) throws(DumpError) in
        switch key {
        case "task":
          if case .string(let text) = try reader.scalar() { task = text }
        case "data":
          try reader.object { (reader, key) throws(DumpError) in
            if let operation = MSProbeOperation(key) {
              try value(&reader, operation, [])
            } else {
              problems.append("\(key.clipped) is not the name of an operation")
              try reader.skip()
            }
          }
        default: try reader.skip()
        }
      }
      try reader.end()
    } catch {
      damage = error.reason
    }
  }

  /// A container of values, a tensor's description, or a plain value.
  private mutating func value(
    _ reader: inout JSONReader, _ operation: MSProbeOperation, _ path: [String]
  ) throws(DumpError) {
    switch reader.peek() {
    case UInt8(ascii: "{"):
      var description = Description()
      try reader.object { (reader, key) throws(DumpError) in
        if try description.take(key, &reader) { return }
        try value(&reader, operation, path + [key])
      }
      add(description, operation, path)
    case UInt8(ascii: "["):
      var index = 0
      try reader.array { (reader) throws(DumpError) in
        try value(&reader, operation, path + [String(index)])
        index += 1
      }
    default:
      let scalar = try reader.scalar()
      plain.append(Plain(operation: operation, name: Self.name(operation, path), value: scalar))
    }
  }

  private mutating func add(_ description: Description, _ operation: MSProbeOperation, _ path: [String]) {
    guard let type = description.type else { return }
    let name = Self.name(operation, path)
    guard let dtype = description.dtype, let shape = description.shape else {
      if description.dataName != nil || type.hasSuffix("Tensor") {
        problems.append("\(operation.stage) \(name): its description lacks dtype or shape")
      } else {
        plain.append(Plain(operation: operation, name: name, value: description.value ?? .string(type)))
      }
      return
    }
    leaves.append(
      Leaf(
        operation: operation, tensor: name, dtype: dtype, shape: shape, maximum: description.numbers["Max"],
        minimum: description.numbers["Min"], mean: description.numbers["Mean"], norm: description.numbers["Norm"],
        checksum: description.checksum, dataName: description.dataName))
  }

  /// One value of a list of one is named without its index where the operation holds parameters.
  private static func name(_ operation: MSProbeOperation, _ path: [String]) -> String {
    guard operation.holdsParameters else { return MSProbeOperation.tensor(path) }
    return (["parameters"] + path.prefix(1) + path.dropFirst().drop { $0 == "0" }).joined(separator: ".")
  }

  /// The members of an object that describe a value rather than hold one.
  private struct Description {
    var type: String?
    var dtype: String?
    var shape: [Int]?
    var numbers: [String: Double] = [:]
    var checksum: String?
    var dataName: String?
    var value: Scalar?

    /// Takes a member by its key and kind; false, and nothing read, for a member that holds a value.
    mutating func take(_ key: String, _ reader: inout JSONReader) throws(DumpError) -> Bool {
      let next = reader.peek()
      let isContainer = next == UInt8(ascii: "{") || next == UInt8(ascii: "[")
      // A type comes first; without one, every member is a value.
      guard type != nil || (key == "type" && next == UInt8(ascii: "\"")) else { return false }
      switch key {
      case "type": type = try reader.string()
      case "shape" where next == UInt8(ascii: "["):
        var sizes: [Int] = []
        try reader.array { (reader) throws(DumpError) in
          guard sizes.count < MSProbeIndex.dimensionLimit else { throw reader.malformed("too many dimensions") }
          sizes.append(try reader.count())
        }
        shape = sizes
      case _ where isContainer: try reader.skip()
      default:
        let scalar = try reader.scalar()
        switch (key, scalar) {
        case ("dtype", .string(let text)): dtype = text
        case ("data_name", .string(let text)) where !text.isEmpty: dataName = text
        case ("md5", .string(let text)): checksum = text
        case ("value", _): value = scalar
        case ("Max", _), ("Min", _), ("Mean", _), ("Norm", _): numbers[key] = scalar.number
        default: break
        }
      }
      return true
    }
  }
}

extension Scalar {
  fileprivate var number: Double? {
    switch self {
    case .int(let number): Double(number)
    case .double(let number): number
    case .bool(let flag): flag ? 1 : 0
    case .none, .string: nil
    }
  }
}
