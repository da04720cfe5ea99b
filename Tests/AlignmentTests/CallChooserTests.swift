import Alignment
import Testing

@Suite("Choosing the call")
struct CallChooserTests {
  private func observed(
    _ calls: [Int: Int], content: [Int: CallObservation.Content] = [:], stages: [String] = ["Block", "MoE"]
  ) -> [CallObservation] {
    stages.flatMap { stage in
      calls.map { call, tokens in
        CallObservation(
          rank: 0, layer: 0, stage: stage, call: call, tokens: tokens, content: content[call] ?? .unread)
      }
    }
  }

  private func call(_ result: Result<CallChoice, CallProblem>) -> Int? {
    guard case .success(let choice) = result else { return nil }
    return choice.call
  }

  @Test(
    "rule atom is pick_prefill_call, its failures included",
    arguments: [
      ([(0, 1024), (1, 60), (2, 4)], 4, 1),  // the usual case
      ([(0, 1024), (1, 64), (2, 4)], 4, 0),  // a prompt of a power of two: the warm-up
      ([(0, 1024), (1, 64), (2, 12)], 4, 2),  // speculative decode beats the prefill
      ([(0, 16_380), (1, 60)], 4, 0),  // an odd warm-up
      ([(3, 60), (1, 36)], 4, 1),
      ([(0, 4), (1, 4)], 4, nil),
    ] as [([(Int, Int)], Int, Int?)])
  func atom(calls: [(Int, Int)], slots: Int, expected: Int?) {
    #expect(call(CallChooser.atom(calls: calls.map { ($0.0, $0.1) }, slots: slots)) == expected)
  }

  @Test("rule atom takes an only file if it divides")
  func atomSingle() {
    #expect((try? CallChooser.atom(calls: [(nil, 1024)], slots: 4).get()) != nil)
    #expect((try? CallChooser.atom(calls: [(nil, 1023)], slots: 4).get()) == nil)
  }

  @Test("rule auto finds the prefill where a power of two misleads")
  func auto() {
    let dummy: [Int: CallObservation.Content] = [0: .idsZero, 1: .idsReal]
    #expect(
      call(CallChooser.auto(observed([0: 1024, 1: 64, 2: 4, 3: 4], content: dummy), selection: .prefill, slots: 4)) == 1
    )
    #expect(
      call(CallChooser.auto(observed([0: 16_380, 1: 60, 2: 12, 3: 12], content: dummy), selection: .prefill, slots: 4))
        == 1)
    #expect(call(CallChooser.auto(observed([0: 64, 1: 4, 2: 4]), selection: .prefill, slots: 4)) == 0)
    #expect(call(CallChooser.auto(observed([0: 64, 1: 60, 2: 4]), selection: .prefill, slots: 4)) == 1)
    #expect(
      call(CallChooser.auto(observed([0: 64, 1: 52, 2: 4, 3: 4], content: dummy), selection: .decode, slots: nil)) == 2)
    #expect(call(CallChooser.auto(observed([0: 64, 1: 52, 2: 4], content: dummy), selection: .warmUp, slots: 4)) == 0)
  }

  @Test("ids decide where rows are alike, rows where there are no ids")
  func content() {
    let rows: [Int: CallObservation.Content] = [0: .rowsAlike, 1: .rowsDiffer]
    #expect(call(CallChooser.auto(observed([0: 60, 1: 52, 2: 4], content: rows), selection: .prefill, slots: 4)) == 1)
  }

  @Test("what is not certain is not chosen")
  func unknown() {
    #expect(call(CallChooser.auto(observed([0: 4, 1: 4]), selection: .prefill, slots: 4)) == nil)
    #expect(call(CallChooser.auto(observed([0: 64, 1: 52]), selection: .number(7), slots: 4)) == nil)
    let oneShot = [CallObservation(rank: 0, layer: 0, stage: "Block", call: nil, tokens: 64)]
    guard case .failure(let problem) = CallChooser.auto(oneShot, selection: .prefill, slots: 4) else {
      Issue.record("a one-shot file is no prefill")
      return
    }
    #expect(problem.code == .wrongCall)
    #expect((try? CallChooser.auto(oneShot, selection: .warmUp, slots: 4).get()) != nil)
  }

  @Test("a stage that loops over sequences is seen")
  func loops() {
    let observations =
      observed([0: 64, 1: 52, 2: 4], stages: ["Block", "MoE", "Attention"])
      + observed([0: 16, 1: 16, 2: 16, 3: 16, 4: 13, 5: 13, 6: 13, 7: 13], stages: ["Indexer"])
    #expect(CallChooser.loops(observations) == ["Indexer": 8])
  }

  @Test("stages are ordered by time, by name where times say nothing")
  func order() {
    func stamps(_ times: [(String, Int64)]) -> [StageOrder.Stamp] {
      times.map {
        StageOrder.Stamp(
          rank: 0, layer: 0, stage: $0.0, call: 1, modified: $0.1, file: "layer00_\($0.0)_rank0_call001.pt")
      }
    }
    let real = stamps([("Zeta", 1), ("Block", 9), ("Alpha", 5)])
    let byTime = StageOrder(
      sides: [real], allFiles: [real.map { (file: $0.file, modified: $0.modified) }])
    #expect(byTime.ordered(["Alpha", "Block", "Zeta"]) == ["Zeta", "Alpha", "Block"])
    let copied = stamps([("Attention", 1), ("Block", 2), ("MoE", 3)])
    let byName = StageOrder(sides: [copied], allFiles: [copied.map { (file: $0.file, modified: $0.modified) }])
    #expect(byName.ordered(["Block", "MoE", "Attention"]) == ["Attention", "MoE", "Block"])
  }
}
