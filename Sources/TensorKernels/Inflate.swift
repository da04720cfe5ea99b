import CDeflate

extension Kernels {
  /// Unpacks a raw DEFLATE stream.
  ///
  /// - Returns: whether the stream is sound, ends with `source` and fills `target` exactly.
  public static func inflate(_ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer) -> Bool {
    guard let from = source.baseAddress, let decompressor = libdeflate_alloc_decompressor() else { return false }
    defer { libdeflate_free_decompressor(decompressor) }
    var used = 0
    // An empty array has no address; the library wants one.
    var nothing: UInt8 = 0
    let result = withUnsafeMutableBytes(of: &nothing) { nothing in
      // Without a place for the count it takes no fewer bytes than there is room for.
      libdeflate_deflate_decompress_ex(
        decompressor, from, source.count, target.baseAddress ?? nothing.baseAddress, target.count, &used, nil)
    }
    return result == LIBDEFLATE_SUCCESS && used == source.count
  }
}
