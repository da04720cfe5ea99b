/// What two sides call their tensors, where names, shapes, types or bytes differ, and why.
public struct SchemaReport: Sendable {
  public enum Verdict: String, Sendable, Codable {
    case pass
    case fail
    /// Nothing to compare, something that could not be read, or values that differ for no known reason.
    case inconclusive
  }

  /// What unequal values mean.
  public enum Values: String, Sendable, CaseIterable {
    /// They are not read.
    case ignore
    /// They leave the verdict inconclusive, unless a finding says more.
    case report
    /// Both sides must hold the same weights: they fail, and a type that differs without any loss does not.
    case require
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

  /// A tensor whose name and shape both sides have, and whose values they do not share.
  public struct Unequal: Sendable, Hashable {
    public var name: String
    /// Cosine of the finite values (of the rank that is farthest off); NaN where it was not computed or a side is 0.
    public var cos: Double
    /// Share of the values that differ.
    public var unequal: Double
    /// NaN and infinities of either side.
    public var nonfinite: Int
  }

  /// How the ranks of one side hold the tensors that the other side has whole.
  public struct Shard: Sendable, Hashable {
    public var name: String
    /// `replicated`, `column`, `row`, `axis`, `blocks`, `heads` or `padded`.
    public var kind: String
    public var axis: Int?
    public var ranks: Int
    /// False where only the shapes say so, and the bytes do not.
    public var isProven: Bool
  }

  /// How far the comparison is.
  public struct Step: Sendable, Hashable {
    public var what: String
    /// Bytes of one side; 0 of 0 while headers are read.
    public var done: Int
    public var total: Int
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
  /// Common names whose dtype, shape and bytes are equal; of sliced tensors, whose slices are.
  public var byteEqual: [String]
  public var unequal: [Unequal]
  public var shards: [Shard]
  public var unreadable: [Unreadable]
  /// Files that were not looked at, for they are no dumps by their names.
  public var unrecognised: [String]
  public var findings: [SchemaFinding]
  /// Names of unequal values, on one rank at least, of which no finding says why.
  public var unexplained: [String] = []
  /// Names whose types differ and whose values do not.
  public var equalAfterCast: [String] = []
}

extension SchemaReport {
  /// Compares two dump files or directories of them.
  ///
  /// As ATOM's `compare.py schema` does, a leading `model.` is not part of a name, also behind `buffer:`, and keys
  /// that start with `_` are bookkeeping. Two directories with the same ranks are compared rank by rank. Where one
  /// side has one rank and the other several, the ranks' tensors are looked for in the whole ones: replicas, slices
  /// of an axis, slices of fused blocks, shared heads.
  ///
  /// - Parameter progress: called before each file and after each block.
  /// - Throws: where a side is missing, or is a file that cannot be read at all.
  public static func compare(
    reference: String, target: String, values: Values = .report, progress: @escaping (Step) -> Void = { _ in }
  ) throws(DumpError) -> SchemaReport {
    func opening(_ path: String) { progress(Step(what: "reading \(path)", done: 0, total: 0)) }
    var comparison = SchemaComparison(
      try SchemaSide(reference, opening: opening), try SchemaSide(target, opening: opening), values: values,
      progress: progress)
    try comparison.run()
    return comparison.report
  }
}

extension SchemaReport.Unequal {
  init(name: String, _ facts: PairFacts) {
    self.init(
      name: name, cos: facts.cos, unequal: Double(facts.unequal) / Double(max(facts.count, 1)),
      nonfinite: facts.nonfinite)
  }

  /// Slices that are those of other ranks: no number says more.
  init(name: String) { self.init(name: name, cos: .nan, unequal: .nan, nonfinite: 0) }
}

extension SchemaReport.Shard {
  init(name: String, _ layout: SliceLayout, ranks: Int, isProven: Bool) {
    self.init(name: name, kind: layout.kind.rawValue, axis: layout.axis, ranks: ranks, isProven: isProven)
  }
}

extension SchemaReport.Mismatch {
  /// `shape` or `dtype`.
  public var field: String {
    switch reference {
    case .shape: "shape"
    case .dtype: "dtype"
    }
  }
}

extension SchemaReport.Value: CustomStringConvertible {
  public var description: String {
    switch self {
    case .shape(let shape): "\(shape)"
    case .dtype(let dtype): dtype.rawValue
    }
  }
}
