"""Remote Ray tasks call the cached function, so they read and store its results wherever they run.

pip install s3memo ray && S3MEMO_URL=s3://my-bucket/results python examples/ray_tasks.py
"""

import ray

from s3memo import s3_cached


@s3_cached
def simulate(seed: int) -> float:
    return sum((seed * step) % 1013 for step in range(100_000)) / 1e6


@ray.remote
def task(seed: int) -> float:
    return simulate(seed)


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False)
    print(sum(ray.get([task.remote(seed) for seed in range(40)])))
    print(f"{simulate.preload()} results are stored")
