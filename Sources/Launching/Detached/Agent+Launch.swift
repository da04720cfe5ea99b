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
