/// The files of one rank and step: `step{n}/rank{r}`, or `step{n}/proc{pid}` where the producer knew no rank.
struct MSProbeFolder {
  enum Owner: Hashable {
    case rank(Int)
    case process(Int)
    /// The folder's name tells neither.
    case unnamed
  }

  /// Relative to the root; empty for the root itself.
  var path: String
  var step: Int?
  var owner: Owner
  var indexes: [DirectoryWalk.Entry] = []
  /// Files under `dump_tensor_data`, by name.
  var data: [String: DirectoryWalk.Entry] = [:]
  var errorLog: String?

  static let dataFolder = "dump_tensor_data"
  private static let sidecars: Set<String> = ["stack.json", "construct.json"]

  /// The folders of a dump by path, and the files that belong to none.
  static func find(_ walk: DirectoryWalk, root: String) -> (folders: [MSProbeFolder], others: [String]) {
    var folders: [String: MSProbeFolder] = [:]
    for entry in walk.files where entry.name == "dump.json" || entry.name == "debug.json" {
      folders[entry.parent, default: MSProbeFolder(entry.parent, root: root)].indexes.append(entry)
    }
    for entry in walk.files {
      guard let folder = entry.parent.dropped(suffix: dataFolder) else { continue }
      guard entry.name.hasSuffix(".pt") || entry.name.hasSuffix(".npy") else { continue }
      folders[folder, default: MSProbeFolder(folder, root: root)].data[entry.name] = entry
    }
    var others: [String] = []
    for entry in walk.files {
      if let folder = entry.parent.dropped(suffix: dataFolder), folders[folder]?.data[entry.name] != nil { continue }
      if folders[entry.parent] != nil {
        if entry.name == "dump.json" || entry.name == "debug.json" || sidecars.contains(entry.name) { continue }
        if entry.name == "dump_error_info.log" {
          folders[entry.parent]?.errorLog = entry.path
          continue
        }
      }
      others.append(entry.path)
    }
    return (folders.values.sorted { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }, others)
  }

  private init(_ path: String, root: String) {
    self.path = path
    let components = (root + "/" + path).split(separator: "/").suffix(2)
    let name = components.last ?? ""
    func number(_ text: Substring, after prefix: String) -> Int? {
      let digits = text.dropFirst(prefix.count)
      return text.hasPrefix(prefix) && digits.utf8.allSatisfy(\.isDigit) ? Int(digits) : nil
    }
    if let rank = number(name, after: "rank") {
      owner = .rank(rank)
    } else if let process = number(name, after: "proc") {
      owner = .process(process)
    } else {
      owner = .unnamed
    }
    // The root may be a step's folder or below.
    step = (owner == .unnamed ? components.last : components.first).flatMap { number($0, after: "step") }
  }
}

extension DirectoryWalk.Entry {
  /// The path of its directory; empty for the root.
  fileprivate var parent: String { path.utf8.count == name.utf8.count ? "" : String(path.dropLast(name.count + 1)) }
}

extension String {
  /// The directory that contains the last component `suffix`; nil where that is not the last.
  fileprivate func dropped(suffix: String) -> String? {
    if self == suffix { return "" }
    return hasSuffix("/" + suffix) ? String(dropLast(suffix.count + 1)) : nil
  }
}
