import Glibc

/// Keeps gathers and pruning apart by an `flock` on `objects`: many hold it while they write manifests, which name
/// objects; one alone while it finds out what no manifest names, and removes that.
extension ArtifactStore {
  /// Calls `body` while nothing is pruned.
  func whileNothingIsPruned<Value>(
    _ body: () throws(GatheringError) -> Value
  ) async throws(GatheringError) -> Value {
    let descriptor = try openObjects()
    defer { close(descriptor) }
    while flock(descriptor, LOCK_SH | LOCK_NB) != 0 {
      guard errno == EWOULDBLOCK || errno == EINTR else { throw FileSystem.failure("lock", objectsPath) }
      do { try await Task.sleep(for: .milliseconds(20)) } catch { throw GatheringError(error) }
    }
    return try body()
  }

  /// Calls `body` while no gather ends: what the manifests name now is all that is needed, and what is removed then is
  /// fetched again by a gather that had counted on it.
  public func pruning<Value>(_ body: () throws -> Value) throws -> Value {
    let descriptor = try openObjects()
    defer { close(descriptor) }
    while flock(descriptor, LOCK_EX) != 0 {
      guard errno == EINTR else { throw FileSystem.failure("lock", objectsPath) }
    }
    return try body()
  }

  private func openObjects() throws(GatheringError) -> Int32 {
    let descriptor = open(objectsPath, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FileSystem.failure("open the directory", objectsPath) }
    return descriptor
  }
}
