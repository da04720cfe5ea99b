import Dumps

/// What `inspect` found, for people and as `rollcall.inspect/1`.
struct DumpListing {
  var path: String
  var files: [FileListing]
  var unreadable: [Unreadable]
  /// Files that hold no tensors by their names.
  var others: [String]

  /// A line for each damaged file or value.
  var damage: [String] {
    let values = files.flatMap { file in
      file.skipped.filter(\.isDamaged).map { "\(file.file): \($0.name): \($0.why)" }
    }
    return values + unreadable.map { "\($0.file): \($0.why)" }
  }

  var text: String {
    var lines: [String] = []
    for file in files {
      if files.count > 1 || file.file != path { lines.append(file.file) }
      lines += file.lines
    }
    lines += unreadable.map { "\($0.file)\n└─ unreadable: \($0.why)" }
    if !others.isEmpty {
      lines.append(
        "no dumps by their names: \(others.prefix(5).joined(separator: ", "))"
          + (others.count > 5 ? " and \(others.count - 5) more" : ""))
    }
    return lines.joined(separator: "\n")
  }
}

struct FileListing {
  var file: String
  var tensors: [TensorListing] = []
  var scalars: [NamedScalar] = []
  var skipped: [SkippedValue] = []

  /// A tree of the key paths.
  var lines: [String] {
    var tree = KeyPathTree()
    for tensor in tensors { tree.add(tensor.name, tensor.lines) }
    for scalar in scalars { tree.add(scalar.name, ["= \(scalar.value.text)"]) }
    for value in skipped { tree.add(value.name, [value.isDamaged ? "DAMAGED: \(value.why)" : value.why]) }
    return tree.isEmpty ? ["└─ nothing"] : tree.lines
  }
}

struct TensorListing {
  var file: String
  var name: String
  var dtype: String
  var shape: [Int]
  var stride: [Int]
  var offset: Int
  var numel: Int
  var statistics: TensorStatistics?

  init(_ tensor: Tensor, file: String, statistics: TensorStatistics?) {
    self.file = file
    name = tensor.name
    dtype = tensor.dtype.rawValue
    shape = tensor.shape
    stride = tensor.strides
    offset = tensor.storageOffset
    numel = tensor.elementCount
    self.statistics = statistics
  }

  var lines: [String] {
    var line = "\(dtype) \(shape)"
    if stride != Self.contiguousStride(shape) { line += "  stride \(stride)" }
    if offset != 0 { line += "  offset \(offset)" }
    guard let statistics else { return [line] }
    var numbers = "sum \(statistics.sum)  abs_max \(statistics.absMax)"
    if statistics.nonfinite > 0 { numbers += "  NaN or infinite: \(statistics.nonfinite) of \(numel)" }
    return [line, numbers, "sha256 \(statistics.sha256)"]
  }

  private static func contiguousStride(_ shape: [Int]) -> [Int] {
    var step = 1
    return Array(
      shape.reversed().map { count in
        defer { step *= max(count, 1) }
        return step
      }.reversed())
  }
}

extension Scalar {
  fileprivate var text: String {
    switch self {
    case .none: "None"
    case .bool(let flag): flag ? "True" : "False"
    case .int(let number): String(number)
    case .double(let number): String(number)
    case .string(let text): "\"\(text.count > 200 ? text.prefix(200) + "…" : text)\""
    }
  }
}

extension DumpListing: Encodable {
  private enum CodingKeys: String, CodingKey {
    case schema
    case file
    case files
    case tensors
    case scalars
    case opaque
    case unreadable
    case others
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode("rollcall.inspect/1", forKey: .schema)
    try container.encode(path, forKey: .file)
    try container.encode(files.map(\.file), forKey: .files)
    try container.encode(files.flatMap(\.tensors), forKey: .tensors)
    try container.encode(
      files.flatMap { file in file.scalars.map { ScalarRecord(file: file.file, scalar: $0) } }, forKey: .scalars)
    try container.encode(
      files.flatMap { file in
        file.skipped.map { OpaqueRecord(file: file.file, name: $0.name, why: $0.why, damaged: $0.isDamaged) }
      }, forKey: .opaque)
    try container.encode(unreadable, forKey: .unreadable)
    try container.encode(others, forKey: .others)
  }

  private struct OpaqueRecord: Encodable {
    var file: String
    var name: String
    var why: String
    var damaged: Bool
  }

  private struct ScalarRecord: Encodable {
    var file: String
    var scalar: NamedScalar

    private enum CodingKeys: String, CodingKey {
      case file
      case name
      case value
    }

    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(file, forKey: .file)
      try container.encode(scalar.name, forKey: .name)
      switch scalar.value {
      case .none: try container.encodeNil(forKey: .value)
      case .bool(let flag): try container.encode(flag, forKey: .value)
      case .int(let number): try container.encode(number, forKey: .value)
      case .double(let number): try container.encode(number.isFinite ? number : nil, forKey: .value)
      case .string(let text): try container.encode(text, forKey: .value)
      }
    }
  }
}

extension TensorListing: Encodable {
  private enum CodingKeys: String, CodingKey {
    case file
    case name
    case dtype
    case shape
    case stride
    case offset
    case numel
    case sum
    case absMax = "abs_max"
    case nonfinite
    case sha256
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(file, forKey: .file)
    try container.encode(name, forKey: .name)
    try container.encode(dtype, forKey: .dtype)
    try container.encode(shape, forKey: .shape)
    try container.encode(stride, forKey: .stride)
    try container.encode(offset, forKey: .offset)
    try container.encode(numel, forKey: .numel)
    guard let statistics else { return }
    // `encode` of an optional writes null, where `encodeIfPresent` would leave the key out.
    try container.encode(statistics.sum.isFinite ? statistics.sum : nil, forKey: .sum)
    try container.encode(statistics.absMax.isFinite ? statistics.absMax : nil, forKey: .absMax)
    try container.encode(statistics.nonfinite, forKey: .nonfinite)
    try container.encode(statistics.sha256, forKey: .sha256)
  }
}
