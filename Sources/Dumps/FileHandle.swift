import Glibc

/// A regular file held open for positioned reads, closed with the last reference; or what was unpacked from one.
final class FileHandle: Sendable {
  let path: String
  /// Bytes when it was opened.
  let size: Int
  private let descriptor: Int32
  /// Read in place of the file.
  private let contents: [UInt8]?

  init(path: String) throws(DumpError) {
    self.path = path
    // O_NONBLOCK: opening a named pipe must not wait for a writer. It means nothing for regular files.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
      let code = errno
      throw DumpError(
        code: code == ENOENT ? .notFound : .inaccessible, file: path,
        message: "cannot be opened: \(String(cString: strerror(code)))")
    }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw DumpError(code: .unsupported, file: path, message: "is not a regular file")
    }
    self.descriptor = descriptor
    self.size = Int(status.st_size)
    contents = nil
  }

  /// - Parameter path: of the file that the bytes come from, for messages.
  init(path: String, contents: [UInt8]) {
    self.path = path
    self.contents = contents
    size = contents.count
    descriptor = -1
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  /// Fills `target` from `offset`; fewer bytes in the file is an error that names the byte where it ends.
  func read(into target: UnsafeMutableRawBufferPointer, at offset: Int) throws(DumpError) {
    guard let base = target.baseAddress else { return }
    if let contents {
      guard offset >= 0, offset <= size, target.count <= size - offset else {
        throw DumpError(
          code: .truncated, file: path, at: .byte(size), message: "the unpacked bytes end here; copy or dump it again")
      }
      contents.withUnsafeBytes {
        target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[offset..<(offset + target.count)]))
      }
      return
    }
    var done = 0
    while done < target.count {
      let got = pread(descriptor, base + done, target.count - done, offset + done)
      if got > 0 {
        done += got
      } else if got == 0 {
        throw DumpError(
          code: .truncated, file: path, at: .byte(offset + done),
          message: "the file ends here, but \(target.count - done) more bytes should follow; copy or dump it again")
      } else if errno != EINTR {
        throw DumpError(
          code: .inaccessible, file: path, at: .byte(offset + done),
          message: "cannot be read: \(String(cString: strerror(errno)))")
      }
    }
  }

  /// `count` bytes from `offset`. The caller has bounded `count`.
  func bytes(at offset: Int, count: Int) throws(DumpError) -> [UInt8] {
    guard offset >= 0, count >= 0, offset <= size, count <= size - offset else {
      throw DumpError(
        code: .truncated, file: path, at: .byte(min(max(offset, 0), size)),
        message: "the file has \(size) bytes, but \(count) bytes from byte \(offset) are needed")
    }
    var bytes = [UInt8](repeating: 0, count: count)
    try read(into: &bytes, at: offset)
    return bytes
  }

  func read(into bytes: inout [UInt8], at offset: Int) throws(DumpError) {
    var failure: DumpError?
    bytes.withUnsafeMutableBytes { buffer in
      do throws(DumpError) { try read(into: buffer, at: offset) } catch { failure = error }
    }
    if let failure { throw failure }
  }
}
