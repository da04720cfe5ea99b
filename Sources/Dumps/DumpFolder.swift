/// The files under a directory that hold tensors by their names, whatever their layout.
public struct DumpFolder: Sendable {
  /// Relative to the directory, in byte order; shards stand for themselves, indexes in `indexes`.
  public var files: [String] = []
  /// `*.safetensors.index.json`.
  public var indexes: [String] = []
  /// Other files.
  public var others: [String]
  public var unreadable: [Unreadable]

  /// Walks the directory and opens no file.
  ///
  /// - Throws: where it is missing or no directory.
  public init(_ path: String) throws(DumpError) {
    let walk = try DirectoryWalk(path)
    others = walk.others
    unreadable = walk.unreadable
    for entry in walk.files {
      if entry.name.hasSuffix(SafetensorsIndex.suffix) {
        indexes.append(entry.path)
      } else if Self.suffixes.contains(where: entry.name.hasSuffix) {
        files.append(entry.path)
      } else {
        others.append(entry.path)
      }
    }
  }

  /// Of files that torch.save writes.
  static let torchSuffixes = [".pt", ".pth", ".bin", ".ckpt"]
  static let suffixes = torchSuffixes + [".safetensors", ".npy", ".npz"]
}
