import Crypto
import Glibc

/// An object on its way into the store: written under `incoming/`, hashed as it grows, renamed when it is whole.
///
/// The file `incoming/<name>.part` outlives an interruption, and the next transfer goes on where it ends; whether its
/// bytes are right is known by the hash of the whole alone. The name is the hash, or `WantedFile.part` before it is known. It is locked while open; a second gather that wants
/// the same object at the same time writes its own copy under another name.
final class PartFile {
  let byteCount: Int
  private(set) var written: Int
  /// True where bytes of an earlier transfer are part of it.
  private(set) var isResumed: Bool
  private let store: ArtifactStore
  private let path: String
  private var descriptor: Int32
  private var hasher: SHA256

  /// How many bytes of an object an earlier transfer left.
  static func leftover(of name: String, in store: ArtifactStore) -> Int {
    guard let facts = try? FileSystem.status(partPath(name, store)), FileSystem.isRegular(facts) else { return 0 }
    return Int(facts.st_size)
  }

  /// What earlier transfers left, looked up in one listing: mostly there is nothing.
  struct Leftovers {
    private let store: ArtifactStore
    /// nil: to be asked one by one.
    private let names: Set<String>?

    init(in store: ArtifactStore) {
      self.store = store
      names = (try? FileSystem.contents(of: store.incomingPath)).map { Set($0.files) }
    }

    /// As `PartFile.leftover`.
    func bytes(of name: String) -> Int {
      if let names, !names.contains("\(name).part") { return 0 }
      return PartFile.leftover(of: name, in: store)
    }
  }

  /// Removes what an earlier transfer left of an object that is no longer wanted.
  static func removeLeftover(of name: String, in store: ArtifactStore) {
    if leftover(of: name, in: store) > 0 { unlink(partPath(name, store)) }
  }

  /// Keeps a leftover under another name, unless one of that name stands.
  static func renameLeftover(of name: String, to new: String, in store: ArtifactStore) {
    if leftover(of: name, in: store) > 0, link(partPath(name, store), partPath(new, store)) == 0 {
      unlink(partPath(name, store))
    }
  }

  /// Opens the object's part.
  /// - Parameter resuming: Keep and hash what an earlier transfer left (`written` says how much); else start anew.
  init(_ file: WantedFile, resuming: Bool, store: ArtifactStore) throws(GatheringError) {
    byteCount = file.byteCount
    self.store = store
    let leftover: Int
    (descriptor, path, leftover) = try Self.openLocked(file.part, store: store)
    written = 0
    isResumed = false
    hasher = SHA256()
    do throws(GatheringError) {
      if resuming, (1...max(1, byteCount)).contains(leftover) {
        var hasher = SHA256()
        written = try FileSystem.read(descriptor: descriptor, path: path) { hasher.update(bufferPointer: $0) }
        self.hasher = hasher
        isResumed = true
      } else if leftover > 0, ftruncate(descriptor, 0) != 0 {
        throw FileSystem.failure("cut", path)
      }
    } catch {
      closeFile()
      throw error
    }
  }

  deinit { closeFile() }

  var remaining: Int { byteCount - written }

  func append(_ bytes: ArraySlice<UInt8>) throws(GatheringError) {
    try FileSystem.write(bytes, to: descriptor, path: path)
    bytes.withUnsafeBytes { hasher.update(bufferPointer: $0) }
    written += bytes.count
  }

  /// Hash of what was written.
  func sha256() -> String { SHA256Digest.hex(hasher.finalize()) }

  /// Makes the whole file read-only; before `syncFileSystem`, since it too must reach the disk.
  func seal() throws(GatheringError) {
    if fchmod(descriptor, 0o444) != 0 { throw FileSystem.failure("make read-only", path) }
  }

  /// Gives the object its name, its bytes sent to disk before; the caller syncs `objects/` afterwards.
  /// - Parameters:
  ///   - sha256: The hash that its bytes have and should have.
  ///   - isOnDisk: `syncFileSystem` has seen to it.
  func commit(as sha256: String, isOnDisk: Bool) throws(GatheringError) {
    if !isOnDisk, fsync(descriptor) != 0 { throw FileSystem.failure("write to disk", path) }
    let object = store.objectPath(sha256)
    if rename(path, object) != 0 { throw FileSystem.failure("rename to \(object)", path) }
    closeFile()
  }

  /// Keeps the bytes so far for a later transfer.
  func keep() {
    if written == 0 { unlink(path) }
    closeFile()
  }

  func discard() {
    unlink(path)
    closeFile()
  }

  /// Sends everything that the store's file system holds back to disk: one wait for many files, where an `fsync` of
  /// each flushes the disk each time.
  /// - Returns: False where the system has no such call.
  /// - Throws: What a failed write was answered with (Linux 5.8 and later say it).
  func syncFileSystem() throws(GatheringError) -> Bool {
    try FileSystem.syncAll(descriptor, path: path)
  }

  private func closeFile() {
    guard descriptor >= 0 else { return }
    // A process that is being started may hold a copy for a moment; closing ours alone would leave the lock to it.
    flock(descriptor, LOCK_UN)
    close(descriptor)
    descriptor = -1
  }

  private static func partPath(_ name: String, _ store: ArtifactStore) -> String {
    "\(store.incomingPath)/\(name).part"
  }

  private static func otherPath(_ name: String, _ store: ArtifactStore) -> String {
    partPath("\(name).\(String(UInt64.random(in: .min ... .max), radix: 16))", store)
  }

  /// Removes a part unless a gather has it open.
  /// - Returns: False where one has, or where the file system does not tell.
  static func removeUnused(_ path: String) throws(GatheringError) -> Bool {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    guard descriptor >= 0 else {
      if errno == ENOENT { return true }
      throw FileSystem.failure("open", path)
    }
    defer { close(descriptor) }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { return false }
    defer { flock(descriptor, LOCK_UN) }
    var mine = stat()
    // Who had it may have renamed it between our open and our lock.
    guard fstat(descriptor, &mine) == 0, let now = try FileSystem.status(path), now.st_ino == mine.st_ino else {
      return true
    }
    guard unlink(path) == 0 || errno == ENOENT else { throw FileSystem.failure("remove", path) }
    return true
  }

  /// - Returns: The open file, its path, and the bytes it holds.
  private static func openLocked(
    _ name: String, store: ArtifactStore
  ) throws(GatheringError) -> (descriptor: Int32, path: String, byteCount: Int) {
    var path = partPath(name, store)
    for _ in 0..<8 {
      let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
      guard descriptor >= 0 else {
        // Sealed: by a gather that is about to rename it, or by one that a crash ended before its rename.
        guard errno == EACCES else { throw FileSystem.failure("open", path) }
        if try !removeUnused(path) { path = otherPath(name, store) }
        continue
      }
      guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
        close(descriptor)
        path = otherPath(name, store)
        continue
      }
      // Another gather may have renamed it between our open and our lock.
      var mine = stat()
      if fstat(descriptor, &mine) == 0, let now = try FileSystem.status(path), now.st_ino == mine.st_ino {
        return (descriptor, path, Int(mine.st_size))
      }
      flock(descriptor, LOCK_UN)
      close(descriptor)
    }
    throw GatheringError(code: .store, path: path, message: "cannot be locked; is another gather using this store?")
  }
}

extension FileSystem {
  /// Sends everything in the file system of an open file to disk.
  /// - Returns: False where the system has no such call.
  static func syncAll(_ descriptor: CInt, path: String) throws(GatheringError) -> Bool {
    // glibc declares syncfs for _GNU_SOURCE alone, which Swift's import of it does not define.
    guard let symbol = dlsym(nil, "syncfs") else { return false }
    let syncfs = unsafeBitCast(symbol, to: (@convention(c) (CInt) -> CInt).self)
    if syncfs(descriptor) != 0 { throw failure("write to disk", path) }
    return true
  }
}
