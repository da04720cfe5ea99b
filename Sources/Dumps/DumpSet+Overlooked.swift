extension DumpSet {
  /// Files that hold tensors by their names and that the layout could not place: what they hold was not looked at.
  ///
  /// None where the user's own pattern says which files count; nor files of prepared weights, which have a layout of their
  /// own.
  public var overlooked: [String] {
    guard layout != .custom else { return [] }
    return unrecognised.filter { path in
      let name = path.split(separator: "/").last.map(String.init) ?? path
      return DumpFolder.suffixes.contains { name.hasSuffix($0) } && DumpFileName(weights: name) == nil
    }
  }
}
