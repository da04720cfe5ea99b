import Alignment
import Comparison
import Coordination
import Diagnosis
import Foundation
import Reporting
import TestSupport
import Testing

@Suite("Another shape never passes")
struct ShapeMismatchTests {
  /// Changes one tensor of the middle layer's prefill in the files of a stage.
  private struct Edit: Codable, CustomStringConvertible {
    var stage: String
    /// What PyTorch makes of the target's tensor `x`.
    var code: String
    /// World sizes.
    var reference = 1
    var target = 2
    /// Of the target; nil: all of its ranks.
    var rank: Int?
    /// The tensor's name in the file.
    var tensor = "hidden"
    /// What becomes of the reference's `x` of rank `r`; nil: it stays.
    var referenceCode: String?
    /// The ranks, as they are, make up a tensor of the reference's shape.
    var isReadable = false
    /// Directories of both sides and of both changed ones.
    var paths: [String] = []

    var description: String {
      "\(stage) \(tensor) \(code), \(reference) against \(target) ranks\(rank.map { ", rank \($0)" } ?? "")"
        + (referenceCode.map { ", reference \($0)" } ?? "")
    }

    static let outputs: [Edit] =
      ["x[:, :-1]", "x[:, :64]", "x[:-1]", "x[:10]", "x.T", "x.reshape(4, 5, 128)", "x.flatten()"].flatMap { code in
        // Half of the whole on each of two ranks has a whole's shape; with shared rows 19 of 20 do, too.
        [
          Edit(stage: "MoE", code: code, target: 1),
          Edit(stage: "MoE", code: code, isReadable: ["x[:, :64]", "x[:10]", "x[:-1]"].contains(code)),
        ]
      }
      // Each rank has 64 of the 128 columns; in a world of four ranks it has 32.
      + ["x[:, :-1]", "x[:, :32]", "x[:-1]", "x.T"].flatMap { code in
        [
          Edit(stage: "QProj", code: code),
          // The shards of two ranks in place of the replicas of two.
          Edit(stage: "QProj", code: code, reference: 2, isReadable: ["x[:, :32]", "x[:-1]"].contains(code)),
          Edit(stage: "QProj", code: code, reference: 2, target: 1),
        ]
      }
      + ["x[:, :-1]", "x[:-1]", "x.T"].map { Edit(stage: "QProj", code: $0, rank: 1) }
      + [Edit(stage: "MoE", code: "x[:-1]", reference: 2, target: 1, referenceCode: "x[r * 10:(r + 1) * 10]")]

    static let inputs = ["x[:, :-1]", "x.T", "x.flatten()"].map { Edit(stage: "MoE", code: $0, tensor: "input") }
  }

  /// The same directories with the tensors changed, all by one interpreter.
  private func changed(_ edits: [Edit], in scratch: Scratch) async throws -> [Edit] {
    var edits = edits
    for index in edits.indices {
      let sides = [edits[index].reference, edits[index].target]
      for ranks in sides {
        edits[index].paths.append(try await Workload.shared.dumps("--nproc \(ranks) --dtype bf16"))
      }
      edits[index].paths += ["reference", "target"].map { scratch.path("\(index)-\($0)") }
    }
    try await runPython(
      """
      import glob, json, re, shutil, sys, torch
      def change(directory, copy, edit, code, rank):
          shutil.copytree(directory, copy)
          if code is None:
              return
          paths = glob.glob(f"{copy}/layer01_{edit['stage']}_rank{'*' if rank is None else rank}_call001.pt")
          assert paths, "no such file"
          for path in paths:
              value = torch.load(path)
              old = value[edit["tensor"]]
              new = eval(code, {"x": old, "r": int(re.search(r"_rank(\\d+)", path)[1])}).clone()
              assert new.shape != old.shape
              value[edit["tensor"]] = new
              if edit["tensor"] == "hidden":
                  value["shape"] = tuple(new.shape)
              torch.save(value, path)
      for edit in json.load(sys.stdin):
          before, after, *copies = edit["paths"]
          change(before, copies[0], edit, edit.get("referenceCode"), None)
          change(after, copies[1], edit, edit["code"], edit.get("rank"))
      """, input: String(decoding: try JSONEncoder().encode(edits), as: UTF8.self), timeout: .seconds(900))
    return edits
  }

  private func row(_ edit: Edit) async throws -> (report: ComparisonReport, row: ComparisonReport.Row) {
    let report = try await compare(edit.paths[2], edit.paths[3])
    let row = try #require(
      report.rows.first { $0.layer == 1 && $0.stage == edit.stage && $0.tensor == edit.tensor }, "\(edit)")
    return (report, row)
  }

  @Test("an output, cut, turned, or of another world size", .timeLimit(.minutes(30)))
  func outputs() async throws {
    try await Scratch.with { scratch in
      for edit in try await changed(Edit.outputs, in: scratch) {
        let (report, row) = try await row(edit)
        // Rows beyond those of the other side might be padded tokens.
        let verdict = edit.referenceCode == nil ? Verdict.fail : .inconclusive
        #expect(report.verdict == verdict && row.verdict == verdict, "\(edit): \(report.verdict), \(row.verdict)")
        #expect((row.measures != nil) == edit.isReadable, "\(edit): \(row.why ?? "")")
        if let measures = row.measures {
          // What is measured is the whole of the reference, not what both sides have.
          let count = edit.stage == "QProj" && !edit.code.hasSuffix("-1]") ? 20 * 64 : 20 * row.shape[1]
          #expect(measures.elementCount == count && row.shape[0] == 20, "\(edit): \(row.shape)")
        } else {
          // Both shapes are named.
          let shapes = (row.why ?? "").matches(of: /\[\d+(, \d+)*\]/).map { String($0.output.0) }
          #expect(Set(shapes).count > 1, "\(edit): \(row.why ?? "")")
        }
      }
    }
  }

  @Test("an input: kept in another way, perhaps, and nothing is known of it", .timeLimit(.minutes(30)))
  func inputs() async throws {
    try await Scratch.with { scratch in
      for edit in try await changed(Edit.inputs, in: scratch) {
        let (report, row) = try await row(edit)
        #expect(report.verdict == .inconclusive, "\(edit)")
        #expect(row.verdict == .inconclusive && row.measures == nil, "\(edit)")
      }
    }
  }

  @Test("ranks whose tokens would add up and whose widths differ")
  func ranksOfUnequalWidth() async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try await runPython(
      """
      import os, torch
      for side, parts in (("reference", [(8, 64)]), ("target", [(4, 64), (4, 32)])):
          os.makedirs(side)
          for rank, shape in enumerate(parts):
              hidden = torch.ones(shape)
              torch.save({"hidden": hidden, "shape": shape}, f"{side}/layer00_Block_rank{rank}_call000.pt")
      """, directory: scratch.path)
    let report = try await compare(scratch.path("reference"), scratch.path("target")) { $0.selection = .number(0) }
    #expect(report.verdict == .fail, "\(report.notes)")
    #expect(report.rows.first?.why?.contains("[4, 64], [4, 32]") == true, "\(report.rows)")
  }

  @Test("logits of ranks whose vocabulary is padded with values")
  func paddedVocabulary() async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try await runPython(
      """
      import os, torch
      torch.manual_seed(0)
      logits = torch.randn(8, 100)
      padded = torch.cat([logits, torch.full((8, 4), 9.0)], 1)
      for side, parts in (("reference", [logits]), ("target", padded.chunk(2, 1))):
          os.makedirs(side)
          for rank, hidden in enumerate(parts):
              torch.save({"hidden": hidden.clone()}, f"{side}/layer03_LMHead_rank{rank}_call000.pt")
      """, directory: scratch.path)
    for (left, right, name) in [("reference", "target", "target"), ("target", "reference", "reference")] {
      let report = try await compare(scratch.path(left), scratch.path(right)) { $0.selection = .number(0) }
      #expect(report.verdict == .fail, "\(report.notes)")
      let finding = try #require(report.findings.first, "\(report.rows)")
      #expect(finding.cause == "vocabulary-padding" && finding.evidence["first_column"] == 100, "\(finding)")
      #expect(finding.summary.contains("the \(name)'s ranks hold 4 columns"), "\(finding)")
    }
  }

  @Test("integers with a sign and without are compared as integers", arguments: [0, 1])
  func integers(difference: Int) async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try await runPython(
      """
      import os, torch
      for side, value, dtype in (("reference", 2 ** 53, torch.int64), ("target", 2 ** 53 + \(difference), torch.uint64)):
          os.makedirs(side)
          hidden = torch.tensor([7, value, 9], dtype=torch.int64).to(dtype)
          torch.save({"hidden": hidden}, f"{side}/layer00_Ids_rank0.pt")
      """, directory: scratch.path)
    let report = try await compare(scratch.path("reference"), scratch.path("target")) { $0.selection = .warmUp }
    #expect((report.verdict == .pass) == (difference == 0), "\(report.rows)")
    #expect(report.rows.first?.measures?.unequalElements == difference)
  }
}
