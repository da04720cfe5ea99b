import Foundation

/// Checks `run.files` on disk, each path once.
struct ShippedFiles {
  static let maximumBytes = 64 << 20

  let directory: String
  private var answers: [String: String?] = [:]

  init(directory: String) { self.directory = directory }

  mutating func check(_ paths: [String], _ list: YAMLValue, _ reading: inout Reading) {
    guard case .list(let items) = list.content else { return }
    var names: [String: String] = [:]
    for (path, item) in zip(paths, items) {
      let problem: String?
      if let answer = answers[path] {
        problem = answer
      } else {
        problem = problemOnDisk(path)
        answers[path] = .some(problem)
      }
      if let problem { reading.report(item.place, problem) }
      let name = Self.name(path)
      if let other = names[name] {
        reading.report(
          item.place,
          other == path
            ? "the file \(path) is listed twice"
            : "\(other) and \(path) would both be files/\(name) in the run directory")
      }
      names[name] = path
    }
  }

  /// What a path is called in `files/` of the run directory.
  static func name(_ path: String) -> String { path.split(separator: "/").last.map(String.init) ?? path }

  /// What an absolute path, or one relative to `directory`, leads to: `S_IFREG`, `S_IFDIR` and so on; nil: to nothing.
  static func kind(_ path: String, in directory: String) -> mode_t? {
    var status = stat()
    return stat(path.hasPrefix("/") ? path : directory + "/" + path, &status) == 0 ? status.st_mode & S_IFMT : nil
  }

  private func problemOnDisk(_ path: String) -> String? {
    let name = path.split(separator: "/").last.map(String.init) ?? ""
    if path.hasPrefix("/") { return "\(path.shortened): files are named relative to the job file" }
    if path.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F }) {
      return "a file name with control characters cannot be shipped"
    }
    if name.isEmpty || name == "." || name == ".." || path.hasSuffix("/") { return "\(path.shortened) names no file" }
    var status = stat()
    guard stat(directory + "/" + path, &status) == 0 else {
      let error = errno
      return error == ENOENT
        ? "the file \(path) does not exist in \(directory)"
        : "the file \(path) cannot be read: \(String(cString: strerror(error)))"
    }
    guard status.st_mode & S_IFMT == S_IFREG else { return "\(path) is not a file" }
    guard access(directory + "/" + path, R_OK) == 0 else { return "the file \(path) cannot be read: no permission" }
    guard status.st_size <= Self.maximumBytes else {
      return "the file \(path) has \(status.st_size) bytes; at most \(Self.maximumBytes) are shipped"
    }
    return nil
  }
}
