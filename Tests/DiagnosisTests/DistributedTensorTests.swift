import Alignment
import Comparison
import Coordination
import Dumps
import Reporting
import TestSupport
import Testing

/// torch's DTensor: each rank's file holds its part and states how the whole lies over the mesh.
@Suite("Distributed tensors")
struct DistributedTensorTests {
  /// Four ranks, a mesh of two by two, one file a rank and stage; the reference holds the whole.
  private static let writer = """
    import json, os, sys, torch, torch.distributed as dist
    folder, wrong = sys.argv[1], sys.argv[2] == "wrong"
    def save(side, stage, rank, value):
        os.makedirs(os.path.join(folder, side), exist_ok=True)
        torch.save({"hidden": value}, os.path.join(folder, side, "layer00_%s_rank%d_call000.pt" % (stage, rank)))
    def save_sglang(stage, rank, value):
        os.makedirs(os.path.join(folder, "sglang"), exist_ok=True)
        name = "step=0___rank=%d___dump_index=%d___name=%s___recompute_status=disabled" % (rank, 1 + names.index(stage), stage)
        torch.save({"value": value, "meta": {"step": 0, "rank": rank, "name": stage}},
                   os.path.join(folder, "sglang", name + ".pt"))
    def save_msprobe(side, rank, values):
        base = os.path.join(folder, "msprobe-" + side, "step0", "rank%d" % rank)
        os.makedirs(base + "/dump_tensor_data", exist_ok=True)
        data = {}
        for stage, value in values.items():
            op = "Module.model.layers.0.%s.Linear.forward.0" % stage
            file = op + ".output.0.pt"
            torch.save(value, base + "/dump_tensor_data/" + file)
            data[op] = {"input_args": [], "input_kwargs": {}, "output": [
                {"type": "torch.Tensor", "dtype": str(value.dtype), "shape": list(value.shape), "data_name": file}]}
        with open(base + "/dump.json", "w") as out:
            json.dump({"task": "tensor", "level": "mix", "framework": "pytorch", "data": data}, out)
    names = ["Both", "Columns", "Terms", "Copies", "Uneven"]
    whole = torch.randn(8, 12, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(4, 8, 12, generator=torch.Generator().manual_seed(2))
    uneven = whole[:7]
    stages = ["Both", "Columns", "Terms", "Copies"]
    for stage in stages:
        save("reference", stage, 0, whole)
    save("reference", "Uneven", 0, uneven)
    save_msprobe("reference", 0, {stage: uneven if stage == "Uneven" else whole for stage in names})
    def run(rank):
        dist.init_process_group(
            "gloo", init_method="file://" + os.path.join(folder, "store"), rank=rank, world_size=4)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
        mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("fsdp", "tp"))
        row, column = divmod(rank, 2)
        rows, columns = slice(4 * row, 4 * row + 4), slice(6 * column, 6 * column + 6)
        terms = [noise[0], whole - noise[0]]
        swapped = (column + 1) % 2 if wrong else column
        parts = {
            "Both": (whole[rows, columns], [Shard(0), Shard(-1)]),
            "Columns": (whole[:, slice(6 * swapped, 6 * swapped + 6)], [Replicate(), Shard(1)]),
            "Terms": (terms[column], [Replicate(), Partial()]),
            "Copies": (whole, [Replicate(), Replicate()]),
            "Uneven": (uneven[rows].clone(), [Shard(0), Replicate()]),
        }
        values = {}
        for stage, (part, placements) in parts.items():
            shape = uneven.shape if stage == "Uneven" else None
            value = DTensor.from_local(
                part.contiguous(), mesh, placements, run_check=False, shape=shape, stride=(12, 1) if shape else None)
            save("target", stage, rank, value)
            save_sglang(stage, rank, value)
            values[stage] = value
        save_msprobe("target", rank, values)
        dist.barrier()
        dist.destroy_process_group()
    if os.path.exists("/sys/class/net/lo"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    children = []
    for rank in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                run(rank)
                os._exit(0)
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
        children.append(pid)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
    """

  @Test("what a DTensor says of its placements joins the ranks; parts in other places fail", arguments: [false, true])
  func placements(isWrong: Bool) async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try await runPython(Self.writer, [scratch.path, isWrong ? "wrong" : "right"])
    let target = try load("\(scratch.path)/target")
    #expect(target.unreadable.isEmpty, "\(target.unreadable)")
    let stated = target.captures.filter { $0.stage == "Both" }.sorted { $0.rank < $1.rank }.map(\.metadata)
    #expect(stated.map { $0?.dims } == Array(repeating: "d0[cp] d1[tp]", count: 4))
    #expect(stated.map { $0?.parallel["cp"]?.rank } == [0, 0, 1, 1])
    #expect(stated.map { $0?.parallel["tp"] } == [0, 1, 0, 1].map { ParallelRank(rank: $0, size: 2) })
    // SGLang's dumper wraps the value; what the tensor says of itself counts all the same.
    let wrapped = try DumpSetLoader.load(directory: "\(scratch.path)/sglang", layout: .sglang, verifyChecksums: false)
    #expect(wrapped.captures.count == 20, "\(wrapped.unreadable)")
    for capture in wrapped.captures {
      let same = target.captures.first { $0.stage == capture.tensor.name && $0.rank == capture.rank }
      #expect(capture.metadata?.dims != nil, "\(capture.stage) \(capture.tensor.name)")
      if let same { #expect(capture.metadata?.dims == same.metadata?.dims) }
    }
    let report = try await compare("\(scratch.path)/reference", "\(scratch.path)/target")
    check(report, isWrong)
    // msprobe saves the tensor as it is; its index has the shape of the whole.
    func probe(_ side: String) throws -> DumpSet {
      try DumpSetLoader.load(directory: "\(scratch.path)/msprobe-\(side)", layout: .msprobe, verifyChecksums: false)
    }
    let parts = try probe("target")
    #expect(parts.captures.count == 20, "\(parts.unreadable)")
    for capture in parts.captures {
      let same = target.captures.first { $0.stage == capture.stage && $0.rank == capture.rank }
      #expect(capture.metadata?.dims != nil && capture.metadata?.dims == same?.metadata?.dims, "\(capture.stage)")
    }
    let probed = try await DumpComparer.compare(
      ComparisonRequest(
        reference: ComparisonSide(set: try probe("reference")), target: ComparisonSide(set: parts), slots: 4))
    check(probed, isWrong)
  }

  private func check(_ report: ComparisonReport, _ isWrong: Bool) {
    #expect(report.rows.count == 5)
    for row in report.rows {
      let isFault = isWrong && row.stage == "Columns"
      #expect(row.verdict == (isFault ? .fail : .pass), "\(row.stage): \(row.why ?? "")")
      #expect(row.shard.why.contains("metadata: dims"), "\(row.stage): \(row.shard.why)")
    }
    #expect(report.verdict == (isWrong ? .fail : .pass), "\(report.notes)")
  }
}
