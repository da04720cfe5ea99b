public import Ledger

/// What the pages ask of the rest of the program: what reaches a host, and what changes a sweep.
public struct DashboardHooks: Sendable {
  /// A piece of a log.
  public struct LogPiece: Sendable {
    public var bytes: [UInt8]
    /// Where the piece begins; more than was asked for where what stood before is skipped.
    public var offset: Int
    /// Nothing will follow.
    public var isEnd: Bool

    public init(bytes: [UInt8], offset: Int, isEnd: Bool) {
      self.bytes = bytes
      self.offset = offset
      self.isEnd = isEnd
    }
  }

  public enum LogStream: String, Sendable, CaseIterable {
    case stdout
    case stderr

    public var fileName: String { rawValue + ".log" }
  }

  /// Asks for the sweep's end. Throws `DashboardError.conflict` or `LedgerError` with what to tell the person.
  public var cancel: @Sendable (_ sweep: String) async throws -> Void
  /// Queues runs that ended badly once more.
  public var retry: @Sendable (_ sweep: String, _ runs: [String]) async throws -> Void
  /// A piece of an attempt's output from `offset`; nil: its last part. nil where there is none.
  public var log: @Sendable (_ attempt: AttemptRecord, _ stream: LogStream, _ offset: Int?) async throws -> LogPiece?
  /// Why a queued run waits: one line, then one a host.
  public var waiting: @Sendable (_ sweep: SweepRecord, _ run: RunRecord) async throws -> [String]

  public init(
    cancel: @escaping @Sendable (_ sweep: String) async throws -> Void,
    retry: @escaping @Sendable (_ sweep: String, _ runs: [String]) async throws -> Void,
    log:
      @escaping @Sendable (
        _ attempt: AttemptRecord, _ stream: LogStream, _ offset: Int?
      ) async throws -> LogPiece?,
    waiting: @escaping @Sendable (_ sweep: SweepRecord, _ run: RunRecord) async throws -> [String]
  ) {
    self.cancel = cancel
    self.retry = retry
    self.log = log
    self.waiting = waiting
  }
}
