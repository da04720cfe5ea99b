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
    // Decode steps alone were dumped: they are there to be asked for, and no prefill is.
    let steps = observed([5: 4, 6: 4, 7: 4])
    #expect(call(CallChooser.auto(steps, selection: .decode, slots: 4)) == 5)
    #expect(throws: CallProblem.self) { try CallChooser.auto(steps, selection: .prefill, slots: 4).get() }
  }

  @Test("ids decide where rows are alike, rows where there are no ids")
  func content() {
    let rows: [Int: CallObservation.Content] = [0: .rowsAlike, 1: .rowsDiffer]
    #expect(call(CallChooser.auto(observed([0: 60, 1: 52, 2: 4], content: rows), selection: .prefill, slots: 4)) == 1)
  }

  @Test("more slots than any batch has are no more than a reason to choose nothing", arguments: [1 << 62, .max])
  func manySlots(slots: Int) {
    #expect(call(CallChooser.auto(observed([0: 64, 1: 52, 2: 4, 3: 4]), selection: .prefill, slots: slots)) == nil)
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

  @Test("files that hold the last call are the one of as many tokens")
  func lastCall() {
    func last(_ tokens: Int, content: CallObservation.Content = .rowsDiffer) -> [CallObservation] {
      [CallObservation(rank: 0, layer: 0, stage: "Block", call: nil, tokens: tokens, content: content, isLast: true)]
    }
    func isTaken(
      _ kept: [CallObservation], _ other: [CallObservation], _ selection: CallSelection = .prefill
    ) -> Bool {
      (try? CallChooser.auto(reference: kept, target: other, selection: selection, slots: nil).reference.get()) != nil
    }
    let whole = observed([0: 64, 1: 52, 2: 4, 3: 4], content: [0: .rowsAlike, 1: .rowsDiffer])
    #expect(isTaken(last(52), whole))
    #expect(!isTaken(last(4), whole) && !isTaken(last(64), whole))
    #expect(!isTaken(last(52, content: .rowsAlike), whole))
    #expect(isTaken(last(52), last(52)) && !isTaken(last(1), last(1)) && isTaken(last(1), last(1), .decode))
    #expect(!isTaken(last(4), whole, .number(1)) && isTaken(last(52), whole, .number(1)))
    // Another call of as many tokens follows, or one that is neither the prefill nor the last was asked for.
    let rows: [Int: CallObservation.Content] = [0: .rowsAlike, 1: .rowsDiffer]
    #expect(!isTaken(last(24), observed([0: 64, 1: 24, 2: 1, 3: 24, 4: 1], content: rows)))
    let twice = observed([0: 64, 1: 24, 2: 24], content: rows)
    #expect(!isTaken(last(24), twice, .number(1)) && isTaken(last(24), twice, .number(2)))
    #expect(!isTaken(last(64), twice, .number(0)))
  }

  @Test("two calls of equal length are not taken for each other where files of one are lost")
  func lostCalls() throws {
    let rows: [Int: CallObservation.Content] = [
      0: .rowsAlike, 1: .rowsDiffer, 2: .rowsDiffer, 3: .rowsDiffer, 4: .rowsDiffer,
    ]
    let counts = [0: 64, 1: 24, 2: 1, 3: 24, 4: 1]
    let whole = observed(counts, content: rows)
    for (lost, selection) in [(1, CallSelection.prefill), (2, .decode)] {
      let rest = observed(counts.filter { $0.key != lost }, content: rows)
      let pair = CallChooser.auto(reference: whole, target: rest, selection: selection, slots: nil)
      #expect(throws: CallProblem.self) { try pair.target.get() }
      #expect("\(pair.target)".contains("has no call \(lost)"), "\(pair.target)")
      let swapped = CallChooser.auto(reference: rest, target: whole, selection: selection, slots: nil)
      #expect(throws: CallProblem.self) { try swapped.reference.get() }
    }
    // Without the first prefill a later decode step is chosen, and both sides have both.
    let rest = observed(counts.filter { $0.key != 1 }, content: rows)
    let steps = CallChooser.auto(reference: whole, target: rest, selection: .decode, slots: nil)
    #expect(try steps.reference.get().calls == steps.target.get().calls)
  }

  @Test("calls that are numbered otherwise because of a dummy batch, chunks or gaps stay what they are")
  func otherNumbers() throws {
    let rows: [Int: CallObservation.Content] = [0: .rowsAlike, 1: .rowsDiffer, 2: .rowsDiffer]
    let plain = observed([0: 64, 1: 24, 2: 1, 3: 1], content: rows)
    let dummies: [Int: CallObservation.Content] = [0: .rowsAlike, 1: .rowsAlike, 2: .rowsDiffer]
    let late = observed([0: 64, 1: 24, 2: 24, 3: 1, 4: 1], content: dummies)
    let pair = CallChooser.auto(reference: plain, target: late, selection: .prefill, slots: nil)
    #expect(try pair.reference.get().calls == [1] && pair.target.get().calls == [2])
    let gaps = observed([0: 64, 1: 52, 5: 4, 6: 4], content: rows)
    let chunks = observed([0: 64, 1: 26, 2: 26, 3: 4, 4: 4], content: rows)
    let chunked = CallChooser.auto(reference: gaps, target: chunks, selection: .prefill, slots: 4)
    #expect(try chunked.reference.get().calls == [1] && chunked.target.get().calls == [1, 2])
  }

  @Test("both sides take the same calls where they have the same")
  func sameCalls() throws {
    // The values of one side's first call were lost.
    let reference = observed([1: 16, 2: 16], content: [1: .rowsDiffer, 2: .rowsDiffer])
    let target = observed([1: 16, 2: 16], content: [1: .rowsAlike, 2: .rowsDiffer])
    let pair = CallChooser.auto(reference: reference, target: target, selection: .prefill, slots: nil)
    #expect(try pair.reference.get().calls == pair.target.get().calls)
    // One side has no more of a prefill in two chunks than the second.
    let rest = observed([2: 16], content: [2: .rowsDiffer])
    let left = CallChooser.auto(reference: reference, target: rest, selection: .prefill, slots: nil)
    #expect(try left.reference.get().calls == [2])
  }

  @Test("a stage that loops over sequences is given to the passes by its tokens")
  func loops() throws {
    let passes = [(call: 0, tokens: 64), (call: 1, tokens: 40), (call: 2, tokens: 4)]
    let counts = [16, 16, 16, 16, 6, 10, 13, 11, 1, 1, 1, 1]
    let loop = try #require(
      CallChooser.assignment(stage: counts.enumerated().map { (call: $0, tokens: $1) }, passes: passes))
    #expect(loop.calls == [0: [0, 1, 2, 3], 1: [4, 5, 6, 7], 2: [8, 9, 10, 11]])
    // Compressed tokens add up to nothing, their number does.
    let compressed = try #require(
      CallChooser.assignment(stage: (0..<12).map { (call: $0, tokens: 3) }, passes: passes))
    #expect(compressed.calls[1] == [4, 5, 6, 7])
    let late = try #require(
      CallChooser.assignment(stage: [(call: 0, tokens: 40), (call: 1, tokens: 4)], passes: passes))
    #expect(late.calls == [1: [0], 2: [1]])
    #expect(CallChooser.assignment(stage: [(call: 0, tokens: 7)], passes: passes) == nil)
    #expect(CallChooser.assignment(stage: (0..<7).map { (call: $0, tokens: 3) }, passes: passes) == nil)
  }

  @Test("chunks of a prefill are joined, and the other side says how many there are")
  func chunks() throws {
    let dummy: [Int: CallObservation.Content] = [0: .idsZero, 1: .idsReal, 2: .idsReal, 3: .idsReal, 4: .idsReal]
    let chunked = observed([0: 64, 1: 16, 2: 16, 3: 20, 4: 4, 5: 4], content: dummy)
    let choice = try CallChooser.auto(chunked, selection: .prefill, slots: 4).get()
    #expect(choice.joined == [1, 2, 3])
    #expect(choice.runnersUp.map(\.calls) == [[4]])
    #expect(try CallChooser.auto(chunked, selection: .decode, slots: 4).get().call == 4)
    // The last chunk is as short as a decode step: 52 tokens on the other side settle it.
    let short = observed([0: 64, 1: 16, 2: 16, 3: 16, 4: 4, 5: 4, 6: 4], content: dummy)
    #expect(try CallChooser.auto(short, selection: .prefill, slots: 4).get().joined == [1, 2, 3])
    let whole = observed([0: 64, 1: 52, 2: 4, 3: 4], content: dummy)
    let pair = CallChooser.auto(reference: whole, target: short, selection: .prefill, slots: 4)
    #expect(try pair.reference.get().calls == [1])
    #expect(try pair.target.get().joined == [1, 2, 3, 4])
  }

  @Test(
    "a chunk that has other tokens on the other side, or is not there, is not left out on both",
    arguments: [
      ([1024, 52, 4, 4, 4], [1024, 51, 4, 4, 4]), ([1024, 52, 4, 4, 4], [1024, 7, 4, 4, 4]),
      ([512, 512, 300, 4, 4], [512, 512, 299, 4, 4]), ([512, 512, 300, 4, 4], [512, 511, 300, 4, 4]),
      ([512, 512, 300, 4, 4], [512, 512, 4, 296, 4]), ([1024, 4, 4], [1024, 52, 4, 4]),
    ] as [([Int], [Int])])
  func otherChunks(_ one: [Int], _ other: [Int]) throws {
    func side(_ tokens: [Int]) -> [CallObservation] {
      let content = tokens.indices.map { ($0, CallObservation.Content.rowsDiffer) }
      return observed(
        Dictionary(uniqueKeysWithValues: zip(0..., tokens)), content: Dictionary(uniqueKeysWithValues: content))
    }
    for (left, right) in [(one, other), (other, one)] {
      for slots in [4, nil] {
        let pair = CallChooser.auto(
          reference: side(left), target: side(right), selection: .prefill, slots: slots)
        for (choice, tokens) in [(try pair.reference.get(), left), (try pair.target.get(), right)] {
          let own = try CallChooser.auto(side(tokens), selection: .prefill, slots: slots).get()
          #expect(Set(own.calls).isSubset(of: choice.calls), "\(left) against \(right): \(choice.calls) of \(tokens)")
        }
      }
    }
  }

  @Test("dummy batches, speculative decode and later requests are passed over")
  func traps() throws {
    let ids: [Int: CallObservation.Content] = [0: .idsZero, 1: .idsZero, 2: .idsReal, 3: .idsZero, 4: .idsReal]
    let dummies = observed([0: 60, 1: 2, 2: 64, 3: 2, 4: 12, 5: 2, 6: 12], content: ids)
    #expect(try CallChooser.auto(dummies, selection: .prefill, slots: 4).get().calls == [2])
    #expect(try CallChooser.auto(dummies, selection: .decode, slots: 4).get().call == 4)
    let again: [Int: CallObservation.Content] = [0: .idsZero, 1: .idsReal, 2: .idsReal, 3: .idsReal]
    let cached = observed([0: 64, 1: 64, 2: 4, 3: 20, 4: 4], content: again)
    let choice = try CallChooser.auto(cached, selection: .prefill, slots: 4).get()
    #expect(choice.calls == [1])
    #expect(choice.runnersUp.contains { $0.calls == [3] })
    // One token of the same prompt in every slot is alike and no dummy.
    let same = observed([0: 64, 1: 52, 2: 4], content: [0: .rowsAlike, 1: .rowsDiffer, 2: .rowsAlike])
    #expect(try CallChooser.auto(same, selection: .decode, slots: 4).get().call == 2)
  }

  @Test("a whole model that runs one sequence at a time")
  func oneByOne() throws {
    let tokens = [16, 16, 16, 16, 13, 13, 13, 13, 1, 1, 1, 1]
    var calls: [Int: Int] = [:]
    var content: [Int: CallObservation.Content] = [:]
    for (call, count) in tokens.enumerated() {
      calls[call] = count
      content[call] = call < 4 ? .idsZero : .idsReal
    }
    let choice = try CallChooser.auto(observed(calls, content: content), selection: .prefill, slots: 4).get()
    #expect(choice.joined == [4, 5, 6, 7])
  }

  @Test("data-parallel ranks with batches of their own are no one call")
  func dataParallel() {
    var all = observed([0: 64, 1: 52, 2: 4])
    all += all.map {
      var other = $0
      other.rank = 1
      if other.call == 1 { other.tokens = 2 }
      return other
    }
    guard case .failure(let problem) = CallChooser.auto(all, selection: .prefill, slots: 4) else {
      Issue.record("rank 1 ran a dummy batch while rank 0 ran the prefill")
      return
    }
    #expect(problem.message.contains("data-parallel"))
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

  @Test("where times say nothing, a module ends after those that it holds")
  func orderOfModules() {
    let order = StageOrder(sides: [], allFiles: [])
    let names = [
      "model.input_layernorm", "model.self_attn.q_proj", "model.self_attn.attn", "model.self_attn.o_proj",
      "model.self_attn", "model.post_attention_layernorm", "model.mlp.gate_up_proj", "model.mlp.act_fn",
      "model.mlp.down_proj", "model.mlp", "model",
    ]
    #expect(order.ordered(names.sorted()) == names)
    let latent = [
      "self_attn.kv_a_proj_with_mqa", "self_attn.q_a_proj", "self_attn.kv_a_layernorm", "self_attn.q_a_layernorm",
      "self_attn.kv_b_proj", "self_attn.q_b_proj", "self_attn.attn_mqa", "self_attn.o_proj", "self_attn",
    ]
    #expect(order.ordered(latent.sorted()) == latent)
  }
}
