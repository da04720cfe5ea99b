extension [Double] {
  /// What would stand at `rank` if the values were sorted, NaN last; in time linear in their number.
  func ranked(_ rank: Int) -> Double {
    var values = filter { !$0.isNaN }
    guard rank < values.count else { return .nan }
    var (first, last) = (0, values.count - 1)
    while first < last {
      // Of three, so that sorted values cost no more.
      let ends = (values[first], values[first + (last - first) / 2], values[last])
      let pivot = Swift.max(Swift.min(ends.0, ends.1), Swift.min(Swift.max(ends.0, ends.1), ends.2))
      var (low, high) = (first, last)
      while low <= high {
        while values[low] < pivot { low += 1 }
        while values[high] > pivot { high -= 1 }
        if low <= high {
          values.swapAt(low, high)
          low += 1
          high -= 1
        }
      }
      if rank <= high {
        last = high
      } else if rank >= low {
        first = low
      } else {
        return values[rank]
      }
    }
    return values[rank]
  }
}
