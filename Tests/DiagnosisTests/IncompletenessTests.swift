import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Foundation
import Reporting
import TestSupport
import Testing

@Suite("Nothing that is missing passes")
struct IncompletenessTests {
  private func pair(_ name: String) async throws -> (reference: String, target: String) {
    let reference = try await Workload.shared.dumps("--nproc 1 --dtype bf16")
    let target = try await Workload.shared.dumps("--nproc 2 --dtype bf16")
    return (reference, try await Workload.shared.copy(target, name: name))
  }

  private func remove(_ directory: String, where matches: (String) -> Bool) throws {
    let names = try FileManager.default.contentsOfDirectory(atPath: directory).filter(matches)
    try #require(!names.isEmpty)
    for name in names { try FileManager.default.removeItem(atPath: "\(directory)/\(name)") }
  }

  @Test("a rank without files is named")
  func missingRank() async throws {
    let (reference, target) = try await pair("rank")
    try remove(target) { $0.contains("_rank1_") }
    let report = try await compare(reference, target) { $0.target.worldSize = 2 }
    #expect(report.verdict == .inconclusive)
    let finding = try #require(report.findings.first { $0.cause == "incomplete-ranks" })
    #expect(finding.ranks == [1])
  }

  @Test(
    "a last rank without files is named where the others say how many there are",
    arguments: [(DumpLayout.sglang, ""), (.sglang, "t h # tp:replicated"), (.weights, "")], [true, false])
  func statedWorld(form: (layout: DumpLayout, dims: String), isLost: Bool) async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try await runPython(
      """
      import os, sys, torch
      root, layout, dims, lost = sys.argv[1:]
      torch.manual_seed(1)
      value = torch.randn(8, 16)
      for size in (1, 2):
          for rank in range(1 if lost == "true" else size):
              folder = f"{root}/tp{size}"
              os.makedirs(folder, exist_ok=True)
              if layout == "weights":
                  held = {"_tp_rank": rank, "_tp_size": size, "_layer": 0, "model.layers.0.norm.weight": value}
                  torch.save(held, f"{folder}/weight_rank{rank}_layer0.pt")
                  continue
              tags = {"step": 0, "rank": rank, "dump_index": 1, "name": "norm"}
              meta = dict(tags, world_size=size, sglang_parallel_info={"tp_rank": rank, "tp_size": size})
              if dims: meta["dims"] = dims
              name = "___".join(f"{key}={value}" for key, value in tags.items())
              torch.save({"value": value, "meta": meta}, f"{folder}/{name}.pt")
      """, [scratch.path, form.layout.rawValue, form.dims, "\(isLost)"])
    func side(_ size: Int, given: Int? = nil) throws -> ComparisonSide {
      let set = try DumpSetLoader.load(
        directory: scratch.path("tp\(size)"), layout: form.layout, verifyChecksums: false)
      return ComparisonSide(set: set, worldSize: given)
    }
    let selection: CallSelection = form.layout == .weights ? .warmUp : .number(0)
    let report = try await DumpComparer.compare(
      ComparisonRequest(reference: try side(1), target: try side(2), selection: selection))
    #expect(report.verdict == (isLost ? .inconclusive : .pass), "\(report.rows) \(report.notes)")
    #expect(report.target.worldSize == 2 && report.rows.allSatisfy { $0.verdict != .fail })
    #expect(report.findings.filter { $0.cause == "incomplete-ranks" }.map(\.ranks) == (isLost ? [[1]] : []))
    // Who says that one rank is enough hears that the dumps say otherwise.
    let doubted = try await DumpComparer.compare(
      ComparisonRequest(reference: try side(1), target: try side(2, given: 1), selection: selection))
    #expect(doubted.verdict == report.verdict)
    #expect(doubted.notes.contains { $0.contains("state a world of 2 ranks, and 1") } == isLost, "\(doubted.notes)")
  }

  /// A pipeline of two stages with two ranks each, two layers a stage, against one rank.
  ///
  /// - Parameters:
  ///   - stated: where the files say it: `meta`, `name` or nowhere.
  ///   - lost: ranks and layers that left no file.
  @Test(
    "a rank lacks the layers of other pipeline stages, where the stages are stated",
    arguments: [
      ("meta", "", true), ("name", "", true), ("", "", false), ("meta", "3:3", false), ("meta", "2:3 3:3", false),
      ("meta", "1:0 1:1", false),
    ])
  func pipelineStages(stated: String, lost: String, passes: Bool) async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try await runPython(
      """
      import os, sys, torch
      root, stated, lost = sys.argv[1:]
      torch.manual_seed(1)
      value = torch.randn(4, 8, 16)
      for side, ranks in (("reference", 1), ("target", 4)):
          os.makedirs(f"{root}/{side}")
          for rank in range(ranks):
              for layer in range(4):
                  if ranks == 4 and layer // 2 != rank // 2 or ranks == 4 and f"{rank}:{layer}" in lost.split():
                      continue
                  tags = {"step": 0, "rank": rank, "dump_index": layer + 1, "name": "mlp", "layer_id": layer}
                  place = {"pp_rank": rank // 2, "pp_size": 2, "tp_rank": rank % 2, "tp_size": 2} if ranks == 4 else {}
                  if stated == "name": tags.update(place)
                  meta = dict(tags, world_size=ranks)
                  if stated == "meta": meta["sglang_parallel_info"] = place
                  if stated == "name": meta = None
                  name = "___".join(f"{key}={value}" for key, value in tags.items())
                  file = f"{root}/{side}/{name}.pt"
                  torch.save({"value": value[layer], "meta": meta} if meta else value[layer], file)
      """, [scratch.path, stated, lost])
    let sides = try ["reference", "target"].map {
      ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path($0), layout: .sglang, verifyChecksums: false))
    }
    let report = try await DumpComparer.compare(
      ComparisonRequest(reference: sides[0], target: sides[1], selection: .number(0)))
    #expect(report.verdict == (passes ? .pass : .inconclusive), "\(report.notes) \(report.coverage.unmatched)")
    #expect(!passes || report.rows.count == 4)
    let saysWhatToState = report.findings.contains { $0.next.contains("state pp_rank and pp_size") }
    #expect(saysWhatToState == stated.isEmpty, "\(report.findings)")
  }

  @Test("last ranks that are gone, where nothing says how many there were")
  func lastRanks() async throws {
    let reference = try await Workload.shared.dumps("--nproc 1 --dtype bf16")
    let whole = try await Workload.shared.dumps("--nproc 4 --dtype bf16")
    let target = try await Workload.shared.copy(whole, name: "last-ranks")
    try remove(target) { $0.contains("_rank2_") || $0.contains("_rank3_") }
    for (left, right, name, lost) in [
      (reference, target, "target", \ComparisonRequest.target), (target, reference, "reference", \.reference),
    ] {
      let report = try await compare(left, right)
      #expect(report.verdict == .inconclusive, "\(report.rows.filter { $0.verdict == .fail })")
      let finding = try #require(report.findings.first { $0.cause == "incomplete-ranks" }, "\(report.findings)")
      #expect(finding.confidence == .possible && finding.ranks == [2, 3])
      #expect(finding.next.contains("--\(name)-world-size"), "\(finding)")
      // With that said, half of each tensor is a fault.
      let stated = try await compare(left, right) { $0[keyPath: lost].worldSize = 2 }
      #expect(stated.verdict == .fail)
    }
  }

  @Test("one file of one rank that is gone")
  func missingFile() async throws {
    let (reference, target) = try await pair("file")
    try remove(target) { $0 == "layer01_MoE_rank1_call001.pt" }
    let report = try await compare(reference, target)
    #expect(report.verdict == .inconclusive)
    #expect(report.findings.contains { $0.cause == "incomplete-ranks" && $0.ranks == [1] })
  }

  @Test("a stage that only one side has")
  func missingStage() async throws {
    let (reference, target) = try await pair("stage")
    try remove(target) { $0.hasPrefix("layer02_MoE") }
    let report = try await compare(reference, target)
    #expect(report.verdict == .inconclusive)
    #expect(report.coverage.unmatched.contains { $0.contains("layer 2 MoE") })
  }

  @Test("a file that is cut short")
  func truncated() async throws {
    let (reference, target) = try await pair("cut")
    let path = "\(target)/layer01_Block_rank0_call001.pt"
    let data = try Data(contentsOf: URL(filePath: path))
    try data.prefix(data.count / 2).write(to: URL(filePath: path))
    let report = try await compare(reference, target)
    #expect(report.verdict == .inconclusive)
    #expect(report.coverage.unreadable.contains { $0.file.contains("layer01_Block_rank0_call001") })
  }

  @Test(
    "a byte that changed after it was written, wherever the tensor is read",
    arguments: [
      // A shard, a replica that is only compared, the replica that is measured.
      ["layer01_QProj_rank1_call001.pt"], ["layer01_Block_rank1_call001.pt"], ["layer01_Block_rank0_call001.pt"],
    ], [false, true])
  func damaged(files: [String], isLast: Bool) async throws {
    let (reference, target) = try await pair("damaged-\(files[0])-\(isLast)")
    for file in files { try damage("\(target)/\(file)", isLast: isLast) }
    let report = try await compare(reference, target)
    #expect(report.verdict == .inconclusive)
    #expect(report.coverage.unreadable.count == 1)
    let entry = try #require(report.coverage.unreadable.first)
    #expect(files.contains(entry.file) && entry.why.contains("CRC-32"))
  }

  @Test("the same damage on both sides is no agreement")
  func damagedAlike() async throws {
    let (source, _) = try await pair("alike")
    let reference = try await Workload.shared.copy(source, name: "alike-reference")
    let target = try await Workload.shared.copy(source, name: "alike-target")
    for side in [reference, target] { try damage("\(side)/layer01_MoE_rank0_call001.pt", isLast: false) }
    let report = try await compare(reference, target)
    #expect(report.verdict == .inconclusive)
    #expect(report.coverage.unreadable.contains { $0.why.contains("CRC-32") })
    #expect(report.rows.count { $0.verdict == .pass } > 10)
  }

  /// Changes the lowest bit of the first or the last element of `hidden`: less than noise.
  private func damage(_ path: String, isLast: Bool) throws {
    let tensor = try #require(try DumpFileReader.read(path: path).tensors.first { $0.name == "hidden" })
    let file = try FileHandle(forUpdating: URL(filePath: path))
    let offset = tensor.storage.offset + (isLast ? tensor.storage.byteCount - 2 : 0)
    try file.seek(toOffset: UInt64(offset))
    let byte = try #require(try file.read(upToCount: 1)?.first)
    try file.seek(toOffset: UInt64(offset))
    try file.write(contentsOf: Data([byte ^ 1]))
    try file.close()
  }

  @Test(
    "views that would take a year to read are named and not read",
    arguments: [58, 61])
  func repetition(exponent: Int) async throws {
    let (source, other) = try await pair("repetition-\(exponent)")
    let reference = try await Workload.shared.copy(source, name: "repetition-\(exponent)-reference")
    for side in [reference, other] {
      try await runPython(
        """
        import sys, torch
        kept = torch.zeros(20, 4, dtype=torch.bfloat16)
        view = torch.zeros(1, 1, dtype=torch.bfloat16).expand(1 << \(exponent), 1)
        torch.save({"hidden": kept, "output_fields": {"view": view}}, sys.argv[1])
        """, ["\(side)/layer01_Wide_rank0_call001.pt"])
    }
    let report = try await compare(reference, other)
    #expect(report.verdict == .inconclusive)
    let named = report.coverage.unreadable
    #expect(named.count == 2 && named.allSatisfy { $0.file == "layer01_Wide_rank0_call001.pt" }, "\(named)")
    #expect(named.allSatisfy { $0.why.contains("which is not read") && $0.values == ["output_fields.view"] })
    #expect(report.rows.contains { $0.stage == "Wide" && $0.tensor == "hidden" })
  }

  @Test("one value that nobody can take, and nothing else is wrong")
  func opaqueValue() async throws {
    let (reference, target) = try await pair("opaque")
    let file = "layer01_MoE_rank1_call001.pt"
    try await runPython(
      """
      import argparse, sys, torch
      value = torch.load(sys.argv[1])
      value["settings"] = argparse.Namespace(scale=2)
      torch.save(value, sys.argv[1])
      """, ["\(target)/\(file)"])
    let report = try await compare(reference, target)
    #expect(report.verdict == .inconclusive)
    #expect(report.rows.allSatisfy { $0.verdict == .pass } && report.coverage.compared == report.coverage.expected)
    #expect(report.coverage.unmatched.isEmpty && report.coverage.unreadable.count == 1)
    let entry = try #require(report.coverage.unreadable.first)
    #expect(entry.file == file && entry.values == ["settings"] && entry.why.contains("argparse.Namespace"))
  }

  @Test(
    "a tensor without elements on both sides is equal, and alone proves nothing",
    arguments: [("float32", true, Verdict.pass), ("float32", false, .inconclusive), ("int32", true, .inconclusive)])
  func empty(dtype: String, hasOther: Bool, verdict: Verdict) async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try await runPython(
      """
      import os, sys, torch
      for side, dtype in (("reference", "float32"), ("target", sys.argv[1])):
          os.makedirs(side)
          torch.save({"hidden": torch.empty(0, 4, dtype=getattr(torch, dtype))}, f"{side}/layer00_Draft_rank0.pt")
          if sys.argv[2] == "true":
              torch.save({"hidden": torch.ones(3, 4)}, f"{side}/layer00_Block_rank0.pt")
      """, [dtype, "\(hasOther)"], directory: scratch.path)
    for policy in [NoisePolicy.measured(NoiseFloors()), .strict] {
      let report = try await compare(scratch.path("reference"), scratch.path("target")) {
        ($0.selection, $0.policy) = (.warmUp, policy)
      }
      #expect(report.verdict == verdict, "\(report.notes)")
      #expect(report.rows.count == (hasOther ? 2 : 1))
    }
  }

  @Test("an expected layer that neither side has")
  func expectation() async throws {
    let reference = try await Workload.shared.dumps("--nproc 1 --dtype bf16")
    let report = try await compare(reference, reference) {
      $0.expectation = CaptureExpectation(layers: [0, 7], stages: ["Block"])
    }
    #expect(report.verdict == .inconclusive)
    #expect(report.coverage.unmatched.contains { $0.contains("layer 7 Block") })
  }

  @Test("files older than the attempt")
  func stale() async throws {
    let (reference, target) = try await pair("stale")
    let path = "\(target)/layer01_Block_rank1_call001.pt"
    try FileManager.default.setAttributes(
      [.modificationDate: Date(timeIntervalSince1970: 1_500_000_000)], ofItemAtPath: path)
    for start in [1_600_000_000_000_000_000, nil] as [Int64?] {
      let report = try await compare(reference, target) { $0.target.startTime = start }
      #expect(report.verdict == .inconclusive)
      #expect(report.findings.contains { $0.cause == "stale-dump" && $0.ranks == [1] })
    }
  }

  @Test("one-shot files hold the warm-up")
  func oneShot() async throws {
    let reference = try await Workload.shared.dumps("--nproc 1 --dtype bf16", oneShot: true)
    let target = try await Workload.shared.dumps("--nproc 2 --dtype bf16", oneShot: true)
    let prefill = try await compare(reference, target)
    #expect(prefill.verdict == .inconclusive)
    #expect(prefill.findings.contains { $0.cause == "wrong-call" })
    #expect(prefill.coverage.compared == 0)
    let warmUp = try await compare(reference, target) { $0.selection = .warmUp }
    #expect(warmUp.verdict == .pass)
  }

  @Test("other token ids stop the comparison")
  func inputs() async throws {
    let reference = try await Workload.shared.dumps("--nproc 1 --dtype bf16")
    let target = try await Workload.shared.dumps("--nproc 2 --dtype bf16 --bug input-mismatch")
    let report = try await compare(reference, target)
    #expect(report.verdict == .inconclusive)
    #expect(report.findings.first?.cause == "input-mismatch")
  }

  @Test("a rule that cannot be applied is an error, not a guess")
  func unsupportedRule() async throws {
    let reference = try await Workload.shared.dumps("--nproc 1 --dtype bf16")
    await #expect(throws: AlignmentError.self) {
      _ = try await compare(reference, reference) { $0.shardRule = .unsupported("t h[tp]") }
    }
  }

  @Test("decode steps compare too")
  func decode() async throws {
    let reference = try await Workload.shared.dumps("--nproc 1 --dtype bf16")
    let target = try await Workload.shared.dumps("--nproc 2 --dtype bf16")
    let report = try await compare(reference, target) { $0.selection = .decode }
    #expect(report.verdict == .pass)
    #expect(report.rows.allSatisfy { $0.call.target == 2 })
  }
}
