import Foundation
import Glibc

/// The right to coordinate one store: an exclusive `flock` on `<store>/coordinator.lock`.
///
/// Held while this value lives, and no longer than the process does, so a dead owner never keeps it. The file names
/// the owner for the message to others.
public final class StoreLock: Sendable {
  private let descriptor: Int32
  private let store: String

  private static let service = "serve, "

  /// - Parameter isService: Other commands may leave their sweeps to this owner.
  /// - Throws: `LedgerError.locked`, naming the owner, when another coordinator holds it.
  public init(store: String, isService: Bool = false) throws(LedgerError) {
    let path = store + "/coordinator.lock"
    self.store = store
    descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      throw LedgerError(code: .unusable, message: "Cannot open \(path): \(String(cString: strerror(errno))).")
    }
    guard Self.take(descriptor, tries: 200) else {
      let owner = (try? String(contentsOfFile: path, encoding: .utf8))?.trimmingCharacters(in: .whitespacesAndNewlines)
      close(descriptor)
      throw LedgerError(
        code: .locked,
        message: "Another coordinator (\(owner ?? "owner unknown")) works on the store \(store). "
          + "Wait for it, or use another store with --store.")
    }
    write("\(isService ? Self.service : "")pid \(getpid())")
  }

  private static let sweep = ", sweep "

  /// Tells others that its owner drives this sweep and no other.
  public func name(sweep: String) { write("pid \(getpid())\(Self.sweep)\(sweep)") }

  private func write(_ owner: String) {
    let line = owner + "\n"
    ftruncate(descriptor, 0)
    _ = line.withCString { pwrite(descriptor, $0, strlen($0), 0) }
  }

  /// That the store is still at its path, with the file that is locked: else another coordinator may take what is there
  /// now, and this one's files would go into a store that its ledger is not of.
  ///
  /// - Throws: `LedgerError.unusable`.
  public func checkPlace() throws(LedgerError) {
    let path = store + "/coordinator.lock"
    var (own, there) = (stat(), stat())
    guard fstat(descriptor, &own) == 0 else { return }
    if stat(path, &there) == 0 {
      if own.st_dev == there.st_dev, own.st_ino == there.st_ino { return }
    } else if errno != ENOENT, errno != ENOTDIR {
      // A file system that does not answer has lost nothing.
      return
    }
    throw LedgerError(
      code: .unusable,
      message: "The store \(store) was removed, moved or replaced while it was in use: \(path) is not the file that "
        + "this process locked. Its runs go on at their hosts; where the store was moved to, or once it is back, go on with: "
        + "rollcall resume")
  }

  /// Runs `body` while the store is at its path; once it is not, `body` is cancelled.
  ///
  /// - Throws: What `body` throws; `LedgerError.unusable` of `checkPlace`.
  public func whileInPlace<Value: Sendable>(
    _ body: @escaping @Sendable () async throws -> Value
  ) async throws -> Value {
    try await withThrowingTaskGroup(of: Value?.self) { group in
      group.addTask { try await body() }
      group.addTask {
        while true {
          try self.checkPlace()
          // Ends with the group.
          do { try await Task.sleep(for: .seconds(1)) } catch { return nil }
        }
      }
      defer { group.cancelAll() }
      while let value = try await group.next() { if let value { return value } }
      throw CancellationError()
    }
  }

  /// Waits a little: `isHeld` of another process holds it for a moment, and so does an owner's child that has not yet
  /// become another program.
  private static func take(_ descriptor: Int32, tries: Int) -> Bool {
    for _ in 0..<tries {
      if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return true }
      usleep(10_000)
    }
    return false
  }

  /// True while some process coordinates the store.
  public static func isHeld(store: String) -> Bool {
    let descriptor = open(store + "/coordinator.lock", O_RDWR | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    return !take(descriptor, tries: 3)
  }

  /// True while `serve` coordinates the store.
  public static func isServed(store: String) -> Bool {
    guard isHeld(store: store) else { return false }
    return (try? String(contentsOfFile: store + "/coordinator.lock", encoding: .utf8))?.hasPrefix(service) ?? false
  }

  /// Which sweeps of a store somebody drives now.
  public enum Driven: Sendable {
    case none
    case all
    case only(String)

    public func contains(_ sweep: String) -> Bool {
      switch self {
      case .none: false
      case .all: true
      case .only(let driven): driven == sweep
      }
    }
  }

  /// What the owner drives; of one that does not say, everything.
  public static func driven(store: String) -> Driven {
    guard isHeld(store: store) else { return .none }
    let owner = (try? String(contentsOfFile: store + "/coordinator.lock", encoding: .utf8)) ?? ""
    guard let place = owner.range(of: sweep) else { return .all }
    return .only(owner[place.upperBound...].trimmingCharacters(in: .whitespacesAndNewlines))
  }

  deinit { close(descriptor) }

  /// Calls `body` while no other process opens this store: SQLite neither lets two processes turn on its write-ahead
  /// log, nor migrate one file, at the same time.
  static func whileOpening<Value>(_ store: String, _ body: () throws -> Value) throws -> Value {
    let descriptor = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw LedgerError(code: .unusable, message: "Cannot open \(store): \(String(cString: strerror(errno))).")
    }
    defer { close(descriptor) }
    guard take(descriptor, tries: 3000) else {
      throw LedgerError(
        code: .locked, message: "Another process has been opening the store \(store) for half a minute.")
    }
    return try body()
  }
}
