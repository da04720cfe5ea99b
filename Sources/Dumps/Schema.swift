import Glibc

/// What two sides call their tensors, and where names, shapes or types differ; bytes only for what agrees.
public struct SchemaReport: Sendable {
  public enum Verdict: String, Sendable, Codable {
    case pass
    case fail
    /// Nothing to compare, or something could not be read.
    case inconclusive
  }

  /// A field of a tensor that both sides have.
  public enum Value: Sendable, Hashable {
    case shape([Int])
    case dtype(DType)
  }

  public struct Mismatch: Sendable, Hashable {
    public var name: String
    public var reference: Value
    public var target: Value
  }

  /// Paths as given.
  public var reference: String
  public var target: String
  public var verdict: Verdict
  public var onlyReference: [String]
  public var onlyTarget: [String]
  public var mismatched: [Mismatch]
  /// Names of both sides, in the reference's order.
  public var common: [String]
  /// Common names whose dtype, shape and bytes are equal.
  public var byteEqual: [String]
  public var unreadable: [Unreadable]
}

extension SchemaReport {
  /// Compares two dump files, or two directories of weight files rank by rank.
  ///
  /// As ATOM's `compare.py schema` does, a leading `model.` is not part of a name, also behind `buffer:`, and keys
  /// that start with `_` are bookkeeping.
  ///
  /// - Throws: where a side is missing, or is a file that cannot be read at all.
  public static func compare(reference: String, target: String) throws(DumpError) -> SchemaReport {
    let sides = (reference: try SchemaSide.load(reference), target: try SchemaSide.load(target))
    let tellsRanks = sides.reference.ranks.count > 1 || sides.target.ranks.count > 1
    if tellsRanks {
      for (side, path) in [(sides.reference, reference), (sides.target, target)] where side.ranks.isEmpty {
        throw DumpError(
          code: .unsupported, file: path,
          message: "is one file, and the other side holds ranks \(sides.reference.ranks + sides.target.ranks); "
            + "give the file of one rank, or two directories")
      }
    }
    let (left, right) = (sides.reference.names(withRank: tellsRanks), sides.target.names(withRank: tellsRanks))

    var report = SchemaReport(
      reference: reference, target: target, verdict: .pass, onlyReference: [], onlyTarget: [], mismatched: [],
      common: [], byteEqual: [], unreadable: left.unreadable + right.unreadable)
    for name in left.order {
      guard let a = left.tensors[name] else { continue }
      guard let b = right.tensors[name] else {
        if !right.lost.contains(name) { report.onlyReference.append(name) }
        continue
      }
      report.common.append(name)
      if a.shape != b.shape {
        report.mismatched.append(Mismatch(name: name, reference: .shape(a.shape), target: .shape(b.shape)))
      }
      if a.dtype != b.dtype {
        report.mismatched.append(Mismatch(name: name, reference: .dtype(a.dtype), target: .dtype(b.dtype)))
      }
      guard a.shape == b.shape, a.dtype == b.dtype else { continue }
      do throws(DumpError) {
        if try haveEqualBytes(a, b) { report.byteEqual.append(name) }
      } catch {
        report.unreadable.append(Unreadable(file: error.file, why: error.reason))
      }
    }
    report.onlyTarget = right.order.filter { left.tensors[$0] == nil && !left.lost.contains($0) }

    // A name is surely missing only where every file of that side was read.
    let surelyMissing =
      (!report.onlyReference.isEmpty && !sides.target.hasBrokenFile)
      || (!report.onlyTarget.isEmpty && !sides.reference.hasBrokenFile)
    if surelyMissing || !report.mismatched.isEmpty {
      report.verdict = .fail
    } else if !report.unreadable.isEmpty || report.common.isEmpty {
      report.verdict = .inconclusive
    }
    return report
  }

  private static func haveEqualBytes(_ a: Tensor, _ b: Tensor) throws(DumpError) -> Bool {
    let (left, right) = (try TensorReader(a), try TensorReader(b))
    let step = TensorReader.blockBytes / a.dtype.byteCount
    var (leftBytes, rightBytes): ([UInt8], [UInt8]) = ([], [])
    var start = 0
    while start < left.elementCount {
      let end = min(start + step, left.elementCount)
      try left.read(start..<end, into: &leftBytes)
      try right.read(start..<end, into: &rightBytes)
      guard leftBytes == rightBytes else { return false }
      start = end
    }
    return true
  }
}

/// One side before names are matched.
private struct SchemaSide {
  struct Part {
    var rank: Int?
    var file: String
    var tensors: [Tensor]
    var skipped: [SkippedValue]
  }

  struct Names {
    var order: [String] = []
    var tensors: [String: Tensor] = [:]
    /// Names whose value could not be taken.
    var lost: Set<String> = []
    var unreadable: [Unreadable] = []
  }

  var parts: [Part] = []
  var broken: [Unreadable] = []

  var hasBrokenFile: Bool { !broken.isEmpty }
  var ranks: [Int] { Set(parts.compactMap(\.rank)).sorted() }

  static func load(_ path: String) throws(DumpError) -> SchemaSide {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
      let dump = try DumpFileReader.read(path: path)
      return SchemaSide(parts: [Part(rank: nil, file: path, tensors: dump.tensors, skipped: dump.skipped)])
    }
    var side = SchemaSide()
    let contents = try DumpSetLoader.files(in: path, layout: .weights)
    side.broken = contents.broken
    side.parts = contents.files.map {
      Part(rank: $0.name.rank, file: $0.entry.path, tensors: $0.dump.tensors, skipped: $0.dump.skipped)
    }
    return side
  }

  func names(withRank tellsRank: Bool) -> Names {
    var names = Names(unreadable: broken)
    for part in parts {
      let prefix = tellsRank ? part.rank.map { "rank\($0)/" } ?? "" : ""
      for value in part.skipped where !value.name.hasPrefix("_") {
        names.lost.insert(prefix + Self.bare(value.name))
        names.unreadable.append(Unreadable(file: part.file, why: "\(value.name): \(value.why)"))
      }
      for tensor in part.tensors where !tensor.name.hasPrefix("_") {
        let name = prefix + Self.bare(tensor.name)
        if names.tensors[name] == nil {
          names.tensors[name] = tensor
          names.order.append(name)
        } else {
          names.unreadable.append(Unreadable(file: part.file, why: "\(tensor.name): \(name) is there a second time"))
        }
      }
    }
    return names
  }

  private static func bare(_ name: String) -> String {
    if name.hasPrefix("model.") { return String(name.dropFirst("model.".count)) }
    if name.hasPrefix("buffer:model.") { return "buffer:" + name.dropFirst("buffer:model.".count) }
    return name
  }
}

extension SchemaReport: Encodable {
  private enum CodingKeys: String, CodingKey {
    case schema
    case verdict
    case reference
    case target
    case onlyReference = "only_reference"
    case onlyTarget = "only_target"
    case mismatched
    case common
    case byteEqual = "byte_equal"
    case unreadable
    case findings
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode("rollcall.schema/1", forKey: .schema)
    try container.encode(verdict, forKey: .verdict)
    try container.encode(reference, forKey: .reference)
    try container.encode(target, forKey: .target)
    try container.encode(onlyReference, forKey: .onlyReference)
    try container.encode(onlyTarget, forKey: .onlyTarget)
    try container.encode(mismatched, forKey: .mismatched)
    try container.encode(common, forKey: .common)
    try container.encode(byteEqual, forKey: .byteEqual)
    try container.encode(unreadable, forKey: .unreadable)
    // No cause is named from names alone yet; the key is part of the contract.
    try container.encode([String](), forKey: .findings)
  }
}

extension SchemaReport.Mismatch: Encodable {
  private enum CodingKeys: String, CodingKey {
    case name
    case field
    case reference
    case target
  }

  /// `shape` or `dtype`.
  public var field: String {
    switch reference {
    case .shape: "shape"
    case .dtype: "dtype"
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(name, forKey: .name)
    try container.encode(field, forKey: .field)
    try container.encode(reference, forKey: .reference)
    try container.encode(target, forKey: .target)
  }
}

extension SchemaReport.Value: Encodable, CustomStringConvertible {
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .shape(let shape): try container.encode(shape)
    case .dtype(let dtype): try container.encode(dtype)
    }
  }

  public var description: String {
    switch self {
    case .shape(let shape): "\(shape)"
    case .dtype(let dtype): dtype.rawValue
    }
  }
}
