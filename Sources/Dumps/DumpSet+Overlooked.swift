extension DumpSet {
  /// Files that hold tensors by their names and that the layout could not place: what they hold was not looked at.
  ///
  /// Not among them are files of prepared weights, which have a layout of their own, and those of names that anybody may
  /// use (`.bin`) and that do not begin as torch's do.
  public var overlooked: [String] {
    unrecognised.filter { path in
      let name = path.split(separator: "/").last.map(String.init) ?? path
      guard let suffix = DumpFolder.suffixes.first(where: name.hasSuffix), DumpFileName(weights: name) == nil else {
        return false
      }
      return ![".bin", ".ckpt"].contains(suffix) || mayBeTorch(path)
    }
  }

  /// A zip archive, or a pickle of protocol 2 to 5; what cannot be read may be one.
  private func mayBeTorch(_ path: String) -> Bool {
    do throws(DumpError) {
      let file = try FileHandle(path: root + "/" + path)
      let head = try file.bytes(at: 0, count: min(2, file.size))
      return head == Array("PK".utf8) || head.count == 2 && head[0] == 0x80 && (2...5).contains(head[1])
    } catch {
      return true
    }
  }
}
