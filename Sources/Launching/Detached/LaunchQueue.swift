/// Sends launches that are asked for while another one is under way together, in one command.
///
/// Whoever finds nobody sending sends for all that wait, then hands the sending over to the next: nothing runs that
/// nobody waits for.
actor LaunchQueue {
  private struct Waiting {
    var payload: LaunchPayload
    var continuation: CheckedContinuation<Word, Never>
  }

  private enum Word {
    case outcome(Result<LaunchOutcome, any Error>)
    /// Send for all who wait, yourself first.
    case send
  }

  private let sendAll: @Sendable (LaunchBatch) async -> [Result<LaunchOutcome, any Error>]
  private let countLimit: Int
  private var waiting: [Waiting] = []
  private var isSending = false

  /// - Parameters:
  ///   - countLimit: Attempts that go together at most.
  ///   - send: One outcome a payload, in their order.
  init(
    countLimit: Int = LaunchBatch.countLimit,
    send: @escaping @Sendable (LaunchBatch) async -> [Result<LaunchOutcome, any Error>]
  ) {
    sendAll = send
    self.countLimit = countLimit
  }

  func launch(_ payload: LaunchPayload) async throws -> LaunchOutcome {
    if isSending {
      let word = await withCheckedContinuation { waiting.append(Waiting(payload: payload, continuation: $0)) }
      if case .outcome(let outcome) = word { return try outcome.get() }
    }
    isSending = true
    // Others that were asked for in the same moment come along.
    for _ in 0..<4 { await Task.yield() }
    var batch = LaunchBatch(countLimit: countLimit)
    _ = batch.add(payload)
    var company: [Waiting] = []
    waiting.removeAll { other in
      guard batch.add(other.payload) else { return false }
      company.append(other)
      return true
    }
    let outcomes = await sendAll(batch)
    if Task.isCancelled {
      // This one alone was given up: the same launch again does no harm.
      waiting = company + waiting
      company = []
    }
    if waiting.isEmpty { isSending = false } else { waiting.removeFirst().continuation.resume(returning: .send) }
    for (other, outcome) in zip(company, outcomes.dropFirst()) {
      other.continuation.resume(returning: .outcome(outcome))
    }
    return try outcomes[0].get()
  }
}

extension Agent {
  /// One outcome a payload.
  func launch(_ batch: LaunchBatch) async -> [Result<LaunchOutcome, any Error>] {
    var replies: [String: Substring] = [:]
    do {
      let reply = try await call("launch-many", input: batch.bytes, timeout: .seconds(180))
      replies = Dictionary(reply.lines.map { (String($0.firstWord.0), $0.firstWord.1) }) { first, _ in first }
    } catch let error as LaunchError where error.code == .noSpace {
      return batch.payloads.map { _ in .success(.noSpace(error.message)) }
    } catch let error as LaunchError where error.code == .workdir {
      return batch.payloads.map { _ in .success(.refused(error.message)) }
    } catch {
      return batch.payloads.map { _ in .failure(error) }
    }
    var outcomes: [Result<LaunchOutcome, any Error>] = []
    for payload in batch.payloads {
      if let outcome = replies[payload.id].flatMap({ self.outcome($0) }) {
        outcomes.append(.success(outcome))
      } else {
        // Not told, or not as it should be: by itself it is found there, or the host says why not.
        outcomes.append(await sendAlone(payload))
      }
    }
    return outcomes
  }

  private func sendAlone(_ payload: LaunchPayload) async -> Result<LaunchOutcome, any Error> {
    do {
      let reply = try await call(
        "launch", [payload.id, payload.token], input: payload.bytes, timeout: .seconds(180))
      guard let outcome = self.outcome(reply.lines[0]) else {
        throw error(.noReply, "the host answered \(reply.lines[0].debugDescription) to a launch")
      }
      return .success(outcome)
    } catch let error as LaunchError where error.code == .noSpace {
      return .success(.noSpace(error.message))
    } catch let error as LaunchError where error.code == .workdir {
      return .success(.refused(error.message))
    } catch {
      return .failure(error)
    }
  }

  /// What a host answers to a launch; nil where it is none of these.
  func outcome(_ reply: Substring) -> LaunchOutcome? {
    let (word, reason) = reply.firstWord
    return switch word {
    case "started": .started
    case "adopted": .adopted
    case "no-space": .noSpace("no room on the host's disk: \(reason)")
    case "gpu-busy": .gpuBusy(String(reason))
    case "refused": .refused(String(reason))
    default: nil
    }
  }
}
