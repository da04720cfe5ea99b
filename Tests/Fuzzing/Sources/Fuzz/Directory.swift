import Glibc

/// A directory whose files are links to one good dump.
struct Directory {
  static let shared = Directory()

  let path: String
  private let seed: String

  private init() {
    let root = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    path = "\(root)/rollcall-fuzz-\(getpid())"
    seed = path + ".pt"
    // {"value": 7, "meta": {}}
    let pickle: [UInt8] =
      [0x80, 2, 0x7D, 0x28, 0x58, 5, 0, 0, 0] + Array("value".utf8) + [0x4B, 7, 0x58, 4, 0, 0, 0]
      + Array("meta".utf8) + [0x7D, 0x75, 0x2E]
    let file = pickle.withUnsafeBytes { HonestZip.file(pickle: $0) }
    let handle = open(seed, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    guard mkdir(path, 0o700) == 0, write(handle, file, file.count) == file.count, close(handle) == 0 else {
      fatalError("cannot write in \(root)")
    }
    atexit {
      rmdir(Directory.shared.path)
      unlink(Directory.shared.seed)
    }
  }

  /// False where there is one of this name already.
  func add(_ name: [UInt8]) -> Bool { withPath(name) { link(seed, $0) == 0 } }

  func remove(_ name: [UInt8]) { _ = withPath(name) { unlink($0) } }

  private func withPath<Result>(_ name: [UInt8], _ body: (UnsafePointer<CChar>) -> Result) -> Result {
    let bytes = (Array(path.utf8) + [UInt8(ascii: "/")] + name + [0]).map { CChar(bitPattern: $0) }
    return bytes.withUnsafeBufferPointer { buffer in
      guard let first = buffer.baseAddress else { fatalError("no path") }
      return body(first)
    }
  }
}
