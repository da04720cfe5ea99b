/// Where a storage's bytes stand in a file.
public struct StorageRegion: Sendable, Hashable, Codable {
  /// Absolute path of the file.
  public var path: String
  /// First byte of the storage in the file.
  public var offset: Int
  /// Bytes of the whole storage.
  public var byteCount: Int
  /// CRC-32 of the whole storage as its container records it; nil where none is recorded.
  public var checksum: UInt32?
  /// How the bytes are packed at `offset`; nil where they stand as they are. A packed storage has its checksum there.
  public var packing: Packing?

  public init(path: String, offset: Int, byteCount: Int, checksum: UInt32? = nil, packing: Packing? = nil) {
    self.path = path
    self.offset = offset
    self.byteCount = byteCount
    self.checksum = checksum
    self.packing = packing
  }
}

/// One tensor in a dump file, not yet read: what it is and where its bytes stand.
///
/// `shape`, `strides` and `storageOffset` count elements, as `torch.Tensor.stride()` and
/// `storage_offset()` do; strides may be 0 (expand) and in any order. A reader has checked that every
/// element the view can reach lies inside `storage`.
public struct Tensor: Sendable, Hashable, Codable {
  /// Key path inside its file: `hidden`, `output_fields.x_prev`, `items[2]`.
  public var name: String
  public var dtype: DType
  public var shape: [Int]
  public var strides: [Int]
  public var storageOffset: Int
  public var storage: StorageRegion
  /// The lazily applied `conj()` and negation bits of complex and real views.
  public var isConjugated: Bool
  public var isNegated: Bool
  /// Tensors whose rows (dimension 0) this one strings together in order, as the chunks of a prefill; empty for a
  /// tensor of its own. Strides, offset and storage are then those of the first.
  public private(set) var pieces: [Tensor] = []

  public init(
    name: String, dtype: DType, shape: [Int], strides: [Int], storageOffset: Int, storage: StorageRegion,
    isConjugated: Bool = false, isNegated: Bool = false
  ) {
    self.name = name
    self.dtype = dtype
    self.shape = shape
    self.strides = strides
    self.storageOffset = storageOffset
    self.storage = storage
    self.isConjugated = isConjugated
    self.isNegated = isNegated
  }

  /// Elements of the view (the product of `shape`; 1 for a 0-dimensional tensor).
  public var elementCount: Int { shape.reduce(1, *) }
}

extension Tensor {
  /// - Throws: `DecodingError` also where pieces have pieces: in a damaged property list a tensor may be its own.
  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    self.init(
      name: try values.decode(String.self, forKey: .name), dtype: try values.decode(DType.self, forKey: .dtype),
      shape: try values.decode([Int].self, forKey: .shape), strides: try values.decode([Int].self, forKey: .strides),
      storageOffset: try values.decode(Int.self, forKey: .storageOffset),
      storage: try values.decode(StorageRegion.self, forKey: .storage),
      isConjugated: try values.decode(Bool.self, forKey: .isConjugated),
      isNegated: try values.decode(Bool.self, forKey: .isNegated))
    guard decoder.codingPath.count(where: { $0.stringValue == CodingKeys.pieces.stringValue }) <= 1 else {
      throw DecodingError.dataCorruptedError(forKey: .pieces, in: values, debugDescription: "pieces that have pieces")
    }
    pieces = try values.decode([Tensor].self, forKey: .pieces)
  }

  /// Every storage that it reads.
  public var storages: [StorageRegion] { pieces.isEmpty ? [storage] : pieces.flatMap(\.storages) }

  /// Rows `range` of dimension 0 as a view of the same storage; nil where there are no such rows.
  public func rows(_ range: Range<Int>) -> Tensor? {
    guard let count = shape.first, range.lowerBound >= 0, range.upperBound <= count else { return nil }
    if range == 0..<count { return self }
    guard pieces.isEmpty else {
      var start = 0
      var parts: [Tensor] = []
      for piece in pieces {
        let rows = piece.shape[0]
        let part = range.clamped(to: start..<(start + rows))
        if !part.isEmpty, let view = piece.rows((part.lowerBound - start)..<(part.upperBound - start)) {
          parts.append(view)
        }
        start += rows
      }
      return Tensor.joined(parts)
    }
    var view = self
    view.shape[0] = range.count
    view.storageOffset += range.lowerBound * strides[0]
    return view
  }

  /// The two leading dimensions as one; nil where there are fewer, or too many of the first to be strung together.
  public var flattened: Tensor? {
    guard shape.count >= 2, pieces.isEmpty, shape[0] <= 65_536 else { return nil }
    func item(_ index: Int) -> Tensor {
      var item = self
      item.shape = Array(shape.dropFirst())
      item.strides = Array(strides.dropFirst())
      item.storageOffset += index * strides[0]
      return item
    }
    if shape[0] == 1 { return item(0) }
    if strides[0] == shape[1].multipliedReportingOverflow(by: strides[1]).partialValue {
      var whole = item(0)
      whole.shape[0] = shape[0] * shape[1]
      return whole
    }
    return Tensor.joined((0..<shape[0]).map(item))
  }

  /// The tensors' rows one after the other, as one tensor; nil where shapes differ beyond dimension 0, or types do.
  public static func joined(_ tensors: [Tensor]) -> Tensor? {
    let parts = tensors.flatMap { $0.pieces.isEmpty ? [$0] : $0.pieces }
    guard let first = parts.first, !first.shape.isEmpty else { return nil }
    if parts.count == 1 { return first }
    var rows = 0
    for part in parts {
      guard part.dtype == first.dtype, part.shape.count == first.shape.count,
        part.shape.dropFirst() == first.shape.dropFirst()
      else { return nil }
      let (sum, overflow) = rows.addingReportingOverflow(part.shape[0])
      guard !overflow else { return nil }
      rows = sum
    }
    let (_, overflow) = first.shape.dropFirst().reduce((rows, false)) {
      let (product, overflow) = $0.0.multipliedReportingOverflow(by: max(1, $1))
      return (product, $0.1 || overflow)
    }
    guard !overflow else { return nil }
    var whole = first
    whole.shape[0] = rows
    whole.pieces = parts
    return whole
  }
}
