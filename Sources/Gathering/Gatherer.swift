public import Logging
public import Transports

/// Brings an attempt's dumps and logs from its host into the store.
///
/// The host lists its files and hashes them; meanwhile what the store is known to lack is transferred, many files in one
/// stream, each verified by SHA-256 while it is written. A cut transfer keeps whole files and goes on inside the cut
/// one. The run's `manifest.json` is written last, so a gather that did not end is seen as such and can be repeated.
public struct Gatherer: Sendable {
  public struct Limits: Sendable, Hashable {
    /// Transfers in a row that may be cut with no whole file and less than 1 MiB gained.
    public var retries = 4
    /// Pause before the first retry; doubled for each next one.
    public var pause: Duration = .milliseconds(500)
    /// Bytes that stay free in the store's file system.
    public var freeSpaceFloor = 256 << 20
    /// Last bytes kept of each log.
    public var logBytes = 4 << 20

    public init() {}
  }

  public var limits: Limits
  let logger: Logger
  let meter: GatherMeter?

  /// - Parameter meter: Told of the bytes as they come.
  public init(
    limits: Limits = Limits(), logger: Logger = Logger(label: "rollcall.gathering"), meter: GatherMeter? = nil
  ) {
    self.limits = limits
    self.logger = logger
    self.meter = meter
  }

  /// Gathers one attempt as the files of a run; repeating it transfers only what is missing.
  ///
  /// - Parameters:
  ///   - attemptDirectory: Absolute path on the host; its last component names the attempt.
  ///   - sweep: Names a directory of the store.
  ///   - run: Names a directory of the sweep.
  /// - Throws: `GatheringError`; whole files stay in the store, and the run has no manifest there.
  public func gather(
    attemptDirectory: String, transport: any Transport, store: ArtifactStore, sweep: String, run: String
  ) async throws(GatheringError) -> GatherResult {
    let clock = ContinuousClock()
    let start = clock.now
    let attempt = attemptDirectory.split(separator: "/").last.map(String.init) ?? ""
    _ = try store.attemptDirectory(sweep: sweep, run: run, attempt: attempt)

    var transfer = Transfer(
      directory: attemptDirectory, transport: transport, store: store, limits: limits, logger: logger, meter: meter)
    // Meanwhile: each step that waits for another costs far hosts a round trip or two.
    let beside = transfer
    async let logged = beside.logs()
    var manifest = try await transfer.fetchAll()
    let (files, logs) = try await logged.get()
    manifest.attempt = AttemptFiles(id: attempt, files: files)
    manifest = try await transfer.keep(manifest) { manifest throws(GatheringError) in
      try store.layOut(manifest, logs: logs, sweep: sweep, run: run)
    }

    let total = manifest.entries.reduce(0) { $0 + $1.byteCount }
    return GatherResult(
      manifest: manifest, bytesTransferred: transfer.bytesTransferred, bytesDeduplicated: total - transfer.bytesNeeded,
      duration: clock.now - start)
  }
}
