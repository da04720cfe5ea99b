/// Finds and catalogues the dumps under one directory.
public enum DumpSetLoader {
  /// Walks `directory`, reads the header of every dump file of `layout`, and never a tensor's bytes.
  ///
  /// A broken file becomes an `unreadable` entry, an unknown name an `unrecognised` one; both cost only themselves.
  ///
  /// - Parameters:
  ///   - modificationTimes: nanoseconds since 1970 by path relative to `directory`, where a manifest knows better
  ///     than the file system.
  /// - Throws: where the directory is missing, is a file, or holds no dump of the layout at all.
  public static func load(
    directory: String, layout: DumpLayout, modificationTimes: [String: Int64]? = nil
  ) throws(DumpError) -> DumpSet {
    throw DumpError(code: .unsupported, file: directory, message: "the \(layout.rawValue) layout is not read yet")
  }
}
