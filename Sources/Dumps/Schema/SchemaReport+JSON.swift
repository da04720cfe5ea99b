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
    case unequal
    case shards
    case unreadable
    case unrecognised
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
    try container.encode(unequal, forKey: .unequal)
    try container.encode(shards, forKey: .shards)
    try container.encode(unreadable, forKey: .unreadable)
    try container.encode(unrecognised, forKey: .unrecognised)
    try container.encode(findings, forKey: .findings)
  }
}

extension SchemaReport.Mismatch: Encodable {
  private enum CodingKeys: String, CodingKey {
    case name
    case field
    case reference
    case target
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(name, forKey: .name)
    try container.encode(field, forKey: .field)
    try container.encode(reference, forKey: .reference)
    try container.encode(target, forKey: .target)
  }
}

extension SchemaReport.Value: Encodable {
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .shape(let shape): try container.encode(shape)
    case .dtype(let dtype): try container.encode(dtype)
    }
  }
}

extension SchemaReport.Unequal: Encodable {
  private enum CodingKeys: String, CodingKey {
    case name
    case cos
    case unequal
    case nonfinite
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(name, forKey: .name)
    // `encode` of an optional writes null, where `encodeIfPresent` would leave the key out.
    try container.encode(cos.isFinite ? cos : nil, forKey: .cos)
    try container.encode(unequal.isFinite ? unequal : nil, forKey: .unequal)
    try container.encode(nonfinite, forKey: .nonfinite)
  }
}

extension SchemaReport.Shard: Encodable {
  private enum CodingKeys: String, CodingKey {
    case name
    case kind
    case axis
    case ranks
    case isProven = "proven"
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(name, forKey: .name)
    try container.encode(kind, forKey: .kind)
    try container.encode(axis, forKey: .axis)
    try container.encode(ranks, forKey: .ranks)
    try container.encode(isProven, forKey: .isProven)
  }
}

extension SchemaFinding: Encodable {
  private enum CodingKeys: String, CodingKey {
    case cause
    case layer
    case stage
    case tensors
    case ranks
    case tokens
    case confidence
    case evidence
    case summary
    case next
  }

  /// The keys of a comparison's finding, and `tensors`.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(cause, forKey: .cause)
    let layers = Set(tensors.map { TensorPlace($0).layer })
    try container.encode(layers.count == 1 ? layers.first ?? nil : nil, forKey: .layer)
    try container.encode("weights", forKey: .stage)
    try container.encode(tensors, forKey: .tensors)
    try container.encode(ranks, forKey: .ranks)
    try container.encode([Int](), forKey: .tokens)
    try container.encode(confidence, forKey: .confidence)
    try container.encode(evidence, forKey: .evidence)
    try container.encode(summary, forKey: .summary)
    try container.encode(next, forKey: .next)
  }
}
