import Alignment
import Comparison

/// Chunks of a prefill: the first agrees and those that continue it do not.
enum ChunkFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    let calls = evidence.callDistances
    guard calls.count > 1, let first = calls.first, first.relL2 <= evidence.tolerance,
      calls.dropFirst().allSatisfy({ $0.relL2 > 2 * evidence.tolerance && $0.relL2 > 4 * first.relL2 })
    else { return [] }
    var numbers = ["first_chunk_rel_l2": first.relL2, "chunks": Double(calls.count)]
    for call in calls.prefix(16) { numbers["call_\(call.call)_rel_l2"] = call.relL2 }
    return [
      evidence.finding(
        "chunk-state", .likely, evidence: numbers,
        summary: "\(evidence.place): the first chunk of the prefill (call \(first.call)) agrees and every later one is "
          + "off: what the chunks before it left behind is lost.",
        next: "Check the state that a chunk takes over: KV cache slots, start_pos, the recurrent or convolution state, "
          + "and run the same prompt without chunked prefill.")
    ]
  }
}
