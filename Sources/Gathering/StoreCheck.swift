import Glibc

/// What a reading of the whole store found.
public struct StoreCheck: Sendable, Hashable {
  /// How many objects were read.
  public var objects = 0
  /// Objects that are not what their names say, and those that a manifest names and the store lacks.
  public var damages: [StoreDamage] = []
}

extension ArtifactStore {
  /// Reads every object and holds it against its name, then every manifest against the objects.
  /// - Throws: `store` where a directory cannot be listed, `damagedManifest` where a manifest cannot be trusted.
  public func check() throws(GatheringError) -> StoreCheck {
    var found = StoreCheck()
    var whole: Set<String> = []
    for name in try FileSystem.contents(of: objectsPath).files.sorted() {
      found.objects += 1
      if let (kind, why) = damage(ofObject: name) {
        found.damages.append(Self.damage("objects/\(name)", kind, why))
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
        found.damages.append(Self.damage(path, .missing, "its object \(entry.sha256) is missing"))
      }
    }
    return found
  }

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
