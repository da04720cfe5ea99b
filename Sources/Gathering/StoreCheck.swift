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
  /// Of the jobs' files: contents that are not what their names say, lists that cannot be read, and what these name and
  /// the store lacks. No dump is the worse for it.
  public var jobFiles: [StoreDamage] = []
}

extension ArtifactStore {
  /// Reads every object and holds it against its name, then every manifest against the objects; the same of the jobs'
  /// files and the lists of them. A run's file that is not the object, as it is after an object was set aside and brought
  /// anew, becomes it again.
  /// - Throws: `store` where a directory cannot be listed, `damagedManifest` where a manifest cannot be trusted.
  public func check() throws(GatheringError) -> StoreCheck {
    var found = StoreCheck()
    var whole: Set<String> = []
    for name in try FileSystem.contents(of: objectsPath).files.sorted() where !name.hasSuffix(Self.asideSuffix) {
      found.objects += 1
      if let (kind, why) = Self.damage(of: name, in: objectsPath) {
        found.damages.append(Self.damage("objects/\(name)", kind, why))
        if kind == .changed, Manifest.isSHA256(name) { found.lost.insert(name) }
      } else {
        whole.insert(name)
      }
    }
    let files = try wholeJobFiles(&found)
    for path in try FileSystem.contents(of: "\(root)/sweeps").files.sorted() {
      let parts = path.split(separator: "/")
      if parts.count == 2, parts[1] == "files.json" { check(listOf: String(parts[0]), files, &found) }
      guard parts.count == 3, parts[2] == "manifest.json" else { continue }
      for entry in try manifest(sweep: String(parts[0]), run: String(parts[1])).entries {
        let path = "sweeps/\(parts[0])/\(parts[1])/\(entry.storedPath)"
        if whole.contains(entry.sha256) {
          do throws(GatheringError) {
            if !isObject("\(root)/\(path)", entry.sha256) { try link("\(root)/\(path)", to: entry) }
          } catch {
            found.damages.append(Self.damage(path, .changed, "is not its object, and cannot be made so: \(error)"))
          }
          continue
        }
        guard byteCount(of: entry.sha256) == nil else { continue }
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

  /// Those whose bytes are right.
  private func wholeJobFiles(_ found: inout StoreCheck) throws(GatheringError) -> Set<String> {
    var whole: Set<String> = []
    for name in try FileSystem.names(in: filesPath).sorted() {
      if let (kind, why) = Self.damage(of: name, in: filesPath) {
        found.jobFiles.append(Self.damage("files/\(name)", kind, why))
      } else {
        whole.insert(name)
      }
    }
    return whole
  }

  private func check(listOf sweep: String, _ files: Set<String>, _ found: inout StoreCheck) {
    let path = "sweeps/\(sweep)/files.json"
    do throws(GatheringError) {
      for (name, file) in try (jobFiles(of: sweep) ?? [:]).sorted(by: { $0.key < $1.key })
      where !files.contains(file.sha256) {
        let why = "its file \(printable(name)), files/\(file.sha256), is missing or damaged"
        found.jobFiles.append(Self.damage(path, .missing, why))
      }
    } catch {
      found.jobFiles.append(Self.damage(path, error.code == .damagedManifest ? .changed : .unreadable, error.message))
    }
  }

  /// Whether a run's file is an object, or a link to it.
  private func isObject(_ path: String, _ sha256: String) -> Bool {
    var file = stat()
    var object = stat()
    return stat(path, &file) == 0 && lstat(objectPath(sha256), &object) == 0
      && file.st_ino == object.st_ino && file.st_dev == object.st_dev
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
    try setAside(objects.filter { Self.damage(of: $0, in: objectsPath)?.0 == .changed })
  }

  static let asideSuffix = ".damaged"

  func asidePath(_ sha256: String) -> String { objectPath(sha256) + Self.asideSuffix }

  /// What is wrong with a file that is named by its content.
  private static func damage(of name: String, in directory: String) -> (StoreDamage.Kind, String)? {
    let path = "\(directory)/\(name)"
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
