import Crypto

/// SHA-256 as the lower-case hex that names objects.
enum SHA256Digest {
  static func hex(_ digest: SHA256.Digest) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: digest.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
  }

  /// Hash of all that is left to read.
  static func hex(descriptor: Int32, path: String) throws(GatheringError) -> String {
    var hasher = SHA256()
    try FileSystem.read(descriptor: descriptor, path: path) { hasher.update(bufferPointer: $0) }
    return hex(hasher.finalize())
  }
}
