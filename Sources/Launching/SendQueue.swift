/// What several items make that go in one command.
public protocol SendBatch: Sendable {
  associatedtype Item: Sendable

  /// - Returns: False where it is not to go along: it waits for the next one.
  mutating func add(_ item: Item) -> Bool
}

/// Sends items that are asked for while others are under way together, in one command.
///
/// Whoever finds nobody sending sends for all that wait, then hands the sending over to the next: nothing runs that
/// nobody waits for.
public actor SendQueue<Batch: SendBatch, Answer: Sendable> {
  private struct Waiting {
    var item: Batch.Item
    var continuation: CheckedContinuation<Word, Never>
  }

  private enum Word {
    case answer(Result<Answer, any Error>)
    /// Send for all who wait, yourself first.
    case send
  }

  private let gathering: Duration?
  private let begin: @Sendable ([Batch.Item]) -> Batch
  private let sendAll: @Sendable (Batch) async -> [Result<Answer, any Error>]
  private var waiting: [Waiting] = []
  private var isSending = false

  /// - Parameters:
  ///   - gathering: For commands that need not go at once: they wait for so long as others come.
  ///   - begin: An empty batch for items that wait.
  ///   - send: One answer an item, in their order.
  public init(
    gathering: Duration? = nil, begin: @escaping @Sendable ([Batch.Item]) -> Batch,
    send: @escaping @Sendable (Batch) async -> [Result<Answer, any Error>]
  ) {
    self.gathering = gathering
    self.begin = begin
    sendAll = send
  }

  public func send(_ item: Batch.Item) async throws -> Answer {
    if isSending {
      let word = await withCheckedContinuation { waiting.append(Waiting(item: item, continuation: $0)) }
      if case .answer(let answer) = word { return try answer.get() }
    }
    isSending = true
    // Others that were asked for in the same moment come along.
    for _ in 0..<4 { await Task.yield() }
    if let gathering {
      var before = -1
      while waiting.count > before, !Task.isCancelled {
        before = waiting.count
        try? await Task.sleep(for: gathering)
      }
    }
    var batch = begin([item] + waiting.map(\.item))
    _ = batch.add(item)
    var company: [Waiting] = []
    waiting.removeAll { other in
      guard batch.add(other.item) else { return false }
      company.append(other)
      return true
    }
    let answers = await sendAll(batch)
    if Task.isCancelled {
      // This one alone was given up: the same item again does no harm.
      waiting = company + waiting
      company = []
    }
    if waiting.isEmpty { isSending = false } else { waiting.removeFirst().continuation.resume(returning: .send) }
    for (other, answer) in zip(company, answers.dropFirst()) { other.continuation.resume(returning: .answer(answer)) }
    return try answers[0].get()
  }
}
