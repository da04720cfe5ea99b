import Glibc

/// What a reading of the whole store found.
public struct StoreCheck: Sendable, Hashable {
  /// How many objects were read.
  public var objects = 0
  /// Objects that are not what their names say, and those that a manifest names and the store lacks.
  public var damages: [StoreDamage] = []
  /// The contents of these that the store does not have whole.
  public var lost: Set<String> = []
  /// Files whose objects were set aside before, and not brought by a gather since.
  public var known: [StoreDamage] = []
}

extension ArtifactStore {
  /// Reads every object and holds it against its name, then every manifest against the objects.
  /// - Throws: `store` where a directory cannot be listed, `damagedManifest` where a manifest cannot be trusted.
  public func check() throws(GatheringError) -> StoreCheck {
    var found = StoreCheck()
    var whole: Set<String> = []
    for name in try FileSystem.contents(of: objectsPath).files.sorted() where !name.hasSuffix(Self.asideSuffix) {
      found.objects += 1
      if let (kind, why) = damage(ofObject: name) {
        found.damages.append(Self.damage("objects/\(name)", kind, why))
        if kind == .changed, Manifest.isSHA256(name) { found.lost.insert(name) }
      } else {
        whole.insert(name)
      }
    }
    for path in try FileSystem.contents(of: "\(root)/sweeps").files.sorted() {
      let parts = path.split(separator: "/")
      guard parts.count == 3, parts[2] == "manifest.json" else { continue }
      for entry in try manifest(sweep: String(parts[0]), run: String(parts[1])).entries
      where !whole.contains(entry.sha256) && byteCount(of: entry.sha256) == nil {
        let path = "sweeps/\(parts[0])/\(parts[1])/\(entry.storedPath)"
        if try FileSystem.status(asidePath(entry.sha256)) != nil {
          found.known.append(Self.damage(path, .missing, "its object \(entry.sha256) was damaged"))
        } else {
          found.damages.append(Self.damage(path, .missing, "its object \(entry.sha256) is missing"))
          found.lost.insert(entry.sha256)
        }
      }
    }
    return found
  }

  /// Sets aside what is left of contents that `check` found lost: from now on that is known.
  public func setAside(_ lost: Set<String>) throws(GatheringError) {
    for hash in lost where rename(objectPath(hash), asidePath(hash)) != 0 {
      guard errno == ENOENT else { throw FileSystem.failure("set aside", objectPath(hash)) }
      try FileSystem.replace(asidePath(hash), with: [])
    }
  }

  /// Reads objects again, and sets those aside whose bytes are wrong.
  public func setAside(damagedOf objects: Set<String>) throws(GatheringError) {
    try setAside(objects.filter { damage(ofObject: $0)?.0 == .changed })
  }

  static let asideSuffix = ".damaged"

  func asidePath(_ sha256: String) -> String { objectPath(sha256) + Self.asideSuffix }

  private func damage(ofObject name: String) -> (StoreDamage.Kind, String)? {
    let path = objectPath(name)
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)
    guard descriptor >= 0 else { return (.unreadable, "cannot be read: \(String(cString: strerror(errno)))") }
    defer { close(descriptor) }
    do throws(GatheringError) {
      let hash = try SHA256Digest.hex(descriptor: descriptor, path: path)
      return hash == name ? nil : (.changed, "is damaged: its SHA-256 is not its name")
    } catch {
      return (.unreadable, error.message)
    }
  }

  private static func damage(_ path: String, _ kind: StoreDamage.Kind, _ why: String) -> StoreDamage {
    StoreDamage(path: path, kind: kind, message: "\(printable(path)): \(why)")
  }
}
