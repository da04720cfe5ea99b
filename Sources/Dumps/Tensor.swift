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

  public init(path: String, offset: Int, byteCount: Int, checksum: UInt32? = nil) {
    self.path = path
    self.offset = offset
    self.byteCount = byteCount
    self.checksum = checksum
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
