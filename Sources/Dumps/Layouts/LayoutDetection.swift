extension DumpSetLoader {
  /// Finds out by the names of the files how a directory's dumps are laid out; opens none of them.
  ///
  /// `custom` is never found: only its user knows it. Where several layouts fit, nothing is chosen.
  ///
  /// - Throws: where the directory is missing, is a file, holds no file of a known layout, or files of several.
  public static func detectLayout(directory: String) throws(DumpError) -> DumpLayout {
    let root = withoutTrailingSlashes(directory)
    let walk = try DirectoryWalk(root)
    var examples: [DumpLayout: (count: Int, path: String)] = [:]
    func count(_ layout: DumpLayout, _ path: String) {
      examples[layout] = ((examples[layout]?.count ?? 0) + 1, examples[layout]?.path ?? path)
    }
    let (folders, others) = MSProbeFolder.find(walk, root: root)
    for folder in folders { count(.msprobe, folder.path.isEmpty ? MSProbeFolder.dataFolder : folder.path) }
    // Tensors in msprobe's folders are no layout of their own.
    let outside = Set(others)
    // Nor are the tensors beside a tree of transformers' debugger.
    let trees = Set(walk.files.filter { HuggingFaceLayout.isTree($0.name) }.map(\.folder))
    for entry in walk.files where outside.contains(entry.path) {
      if HuggingFaceLayout.isTree(entry.name) {
        count(.huggingFace, entry.path)
      } else if entry.name.hasSuffix(".safetensors"), trees.contains(entry.folder) {
        continue
      } else if SGLangFileName(path: entry.path) != nil || SGLangHookFile(path: entry.path) != nil {
        count(.sglang, entry.path)
      } else if DumpFileName(forward: entry.name) != nil {
        count(.atom, entry.path)
      } else if DumpFileName(weights: entry.name) != nil {
        count(.weights, entry.path)
      } else if entry.name.hasSuffix(".safetensors") {
        count(.safetensors, entry.path)
      } else if entry.name.hasSuffix(".npy") || entry.name.hasSuffix(".npz") {
        count(.npy, entry.path)
      }
    }
    let found = DumpLayout.allCases.filter { examples[$0] != nil }
    if let only = found.first, found.count == 1 { return only }
    if found.isEmpty {
      let sight =
        walk.files.first.map { "there are other files (\(walk.files.count)), for instance \($0.path)" }
        ?? walk.unreadable.first.map { "\($0.file.isEmpty ? "it" : $0.file): \($0.why)" }
        ?? "it holds no file at all; did the run write its dumps elsewhere?"
      throw DumpError(
        code: .noDumps, file: root,
        message:
          "no dump file of a layout that Rollcall knows (ATOM, SGLang, msprobe, Hugging Face, weights, safetensors, npy) "
          + "under this directory: \(sight); did you mean the parent, or --layout custom with a --pattern?")
    }
    let list = found.map { layout in
      "\(layout.rawValue) (\(examples[layout]?.count ?? 0), for instance \(examples[layout]?.path ?? ""))"
    }
    throw DumpError(
      code: .unsupported, file: root,
      message: "files of several layouts stand under this directory: \(list.joined(separator: ", ")); name one with "
        + "--layout, or give each a directory of its own")
  }
}
