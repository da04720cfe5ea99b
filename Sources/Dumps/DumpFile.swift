/// What stands in one dump file: tensors not yet read, plain values, and what could not be taken.
public struct DumpFile: Sendable {
  /// In the order of the file; names are key paths (`a.b`, `items[2]`) and unique.
  public var tensors: [Tensor]
  /// Numbers, texts and flags beside the tensors.
  public var scalars: [NamedScalar]
  /// Values that this reader does not interpret or may not trust, by name.
  public var skipped: [SkippedValue]
  /// How a tensor of this name lies over the ranks, where the file says it (torch's DTensor).
  public var metadata: [String: CaptureMetadata] = [:]

  public init(tensors: [Tensor] = [], scalars: [NamedScalar] = [], skipped: [SkippedValue] = []) {
    self.tensors = tensors
    self.scalars = scalars
    self.skipped = skipped
  }

  /// The plain value of this key path.
  public func scalar(_ name: String) -> Scalar? { scalars.first { $0.name == name }?.value }
}

public enum Scalar: Sendable, Hashable {
  case none
  case bool(Bool)
  case int(Int)
  case double(Double)
  case string(String)
}

public struct NamedScalar: Sendable, Hashable {
  public var name: String
  public var value: Scalar

  public init(name: String, value: Scalar) {
    self.name = name
    self.value = value
  }
}

/// A value of a dump file that is not given to anybody, and why.
public struct SkippedValue: Sendable, Hashable {
  /// Key path.
  public var name: String
  /// `opaque module.Class` for what the reader does not interpret; else the damage.
  public var why: String
  /// True where the bytes are damaged, false where the value is merely foreign.
  public var isDamaged: Bool

  public init(name: String, why: String, isDamaged: Bool) {
    self.name = name
    self.why = why
    self.isDamaged = isDamaged
  }
}
