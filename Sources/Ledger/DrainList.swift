import Foundation

/// The hosts that a person keeps from new runs: one small file a host in `<store>/drained`.
///
/// Read by coordinators while they work; what runs on a drained host goes on to its end.
public struct DrainList: Sendable {
  public struct Entry: Sendable, Hashable, Codable {
    /// Seconds since 1970.
    public var since: Double
    /// In the person's words.
    public var why: String?

    public init(since: Double, why: String? = nil) {
      self.since = since
      self.why = why
    }
  }

  private let directory: String

  public init(store: String) {
    directory = store + "/drained"
  }

  /// Host → since when and why. A file that cannot be read drains its host all the same.
  /// - Throws: `LedgerError` where the directory stands and cannot be read.
  public func hosts() throws(LedgerError) -> [String: Entry] {
    guard FileManager.default.fileExists(atPath: directory) else { return [:] }
    var found: [String: Entry] = [:]
    do {
      for name in try FileManager.default.contentsOfDirectory(atPath: directory) where Self.isName(name) {
        let path = directory + "/" + name
        let data = FileManager.default.contents(atPath: path)
        let entry = data.flatMap { try? JSONDecoder().decode(Entry.self, from: $0) }
        // Resumed while we looked.
        guard entry != nil || FileManager.default.fileExists(atPath: path) else { continue }
        found[name] = entry ?? Entry(since: 0)
      }
    } catch {
      throw LedgerError(code: .unusable, message: "Cannot read \(directory): \(error.localizedDescription).")
    }
    return found
  }

  /// Keeps new runs from a host. Draining it again renews the reason.
  public func drain(_ host: String, why: String?, now: Double) throws(LedgerError) {
    let path = try path(host)
    do {
      try SweepLedger.makeDirectory((directory as NSString).deletingLastPathComponent)
      try FileManager.default.createDirectory(
        atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
      try JSONEncoder().encode(Entry(since: now, why: why)).write(to: URL(fileURLWithPath: path), options: .atomic)
    } catch {
      throw LedgerError(code: .unusable, message: "Cannot write \(path): \(error.localizedDescription).")
    }
  }

  /// Lets a host take runs again; false where it did already.
  @discardableResult
  public func resume(_ host: String) throws(LedgerError) -> Bool {
    let path = try path(host)
    guard FileManager.default.fileExists(atPath: path) else { return false }
    do {
      try FileManager.default.removeItem(atPath: path)
      return true
    } catch {
      throw LedgerError(code: .unusable, message: "Cannot remove \(path): \(error.localizedDescription).")
    }
  }

  private func path(_ host: String) throws(LedgerError) -> String {
    guard Self.isName(host) else {
      throw LedgerError(code: .notFound, message: "\(host.debugDescription) is no name of a host.")
    }
    return directory + "/" + host
  }

  /// Names of hosts in fleet files: no file of another kind, no way out of the directory.
  private static func isName(_ name: String) -> Bool {
    guard (1...100).contains(name.utf8.count), let first = name.unicodeScalars.first, first.isASCII,
      first.properties.isAlphabetic || first.properties.numericType != nil
    else { return false }
    return name.unicodeScalars.allSatisfy { scalar in
      scalar.isASCII
        && (scalar.properties.isAlphabetic || scalar.properties.numericType != nil
          || "._-".unicodeScalars.contains(scalar))
    }
  }
}
