"""A Dask cluster computes misses, and its workers store the results; this process reads what is stored already.

pip install s3memo distributed && S3MEMO_URL=s3://my-bucket/results python examples/dask_cluster.py
"""

from distributed import Client, LocalCluster

from s3memo import s3_cached


@s3_cached
def simulate(seed: int) -> float:
    return sum((seed * step) % 1013 for step in range(100_000)) / 1e6


if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        print(sum(simulate.map(range(40), executor=client.get_executor())))
    info = simulate.cache_info()
    print(f"{info.store_hits} from the store, {info.misses} computed")
