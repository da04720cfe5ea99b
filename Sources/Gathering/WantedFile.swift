import Crypto

/// A file to be fetched.
struct WantedFile: Sendable {
  /// Relative to `dumps/`.
  let path: String
  let byteCount: Int
  /// nil: the host has not told it yet.
  let sha256: String?
  /// What its bytes are kept under in `incoming/` until they are whole; 64 hexadecimal digits.
  let part: String

  init(_ entry: ManifestEntry) {
    path = entry.path
    byteCount = entry.byteCount
    sha256 = entry.sha256
    part = entry.sha256
  }

  /// A file that is fetched while the host still hashes it.
  init(unhashed file: Listing.File, in directory: String) {
    path = file.path
    byteCount = file.byteCount
    sha256 = nil
    part = Self.part(of: file, in: directory)
  }

  /// Another attempt's file, or one that was written again, has another.
  static func part(of file: Listing.File, in directory: String) -> String {
    let identity = "\(directory)\0\(file.path)\0\(file.byteCount)\0\(file.modified)"
    return SHA256Digest.hex(SHA256.hash(data: Array(identity.utf8)))
  }
}
